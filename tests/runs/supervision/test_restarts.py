"""What fails for its machine's sake starts again, whole; what fails by itself does not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from runs.config import RestartOn, RunConfig
from runs.distribution import Mode
from runs.ingest import process_reports
from runs.lifecycle import requeue
from runs.models import Process, ProcessGroup, Run
from runs.selectors import events_after
from runs.services import request_cancel
from runs.states import EndReason, ProcessState, RequeueReason, RunStatus
from runs.supervision.decisions import (
    ROOT_CAUSE_WINDOW,
    EndVerdict,
    ProcessView,
    end_verdict,
    should_restart,
)
from runs.supervision.reconciler import RunReconciler
from tests.fakes import FakeBackend
from tests.runs.supervision.supervised_runs import (
    TWO_WORKERS,
    Submit,
    bring_up,
    end,
    leave,
    processes,
    tick,
)
from tests.waiting import wait_for
from workspace.compute.base import TargetUnreachable
from workspace.models import ComputeTarget
from workspace.targets.reachability import Reachability

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENDS = [
    ("the program's own failure", EndReason.PROCESS_FAILED, 1, False, True),
    ("a failure by hand", EndReason.PROCESS_FAILED, 127, False, True),
    ("a kill", EndReason.PROCESS_FAILED, 137, True, True),
    ("a crash", EndReason.PROCESS_FAILED, 139, True, True),
    ("no memory, told by the program", EndReason.OUT_OF_MEMORY, 1, False, True),
    ("no memory, told by the kernel", EndReason.OUT_OF_MEMORY, 137, True, True),
    ("a lost process", EndReason.LOST, None, True, True),
    ("a process that never came up", EndReason.NEVER_CAME_UP, None, True, True),
    ("a target that does not answer", EndReason.TARGET_UNREACHABLE, None, True, True),
    ("a start that was refused", EndReason.START_FAILED, None, False, True),
    ("no progress", EndReason.NO_PROGRESS, None, False, True),
    ("the time limit", EndReason.TIME_LIMIT, None, False, False),
    ("a good end", EndReason.COMPLETED, 0, False, False),
]


@pytest.mark.parametrize(
    ("reason", "code", "by_default", "on_any"), [row[1:] for row in ENDS], ids=[r[0] for r in ENDS]
)
def test_what_is_followed_by_a_restart(reason, code, by_default, on_any):
    verdict = EndVerdict(reason, "It ended.", "worker-0", code)
    config = RunConfig(experiment="digits", entry_script="train.py", max_restarts=2)
    assert should_restart(config, verdict, 1) is by_default
    assert not should_restart(config, verdict, 2), "no restart is left"
    any_failure = RunConfig(
        experiment="digits",
        entry_script="train.py",
        max_restarts=2,
        restart_on=RestartOn.ANY_FAILURE,
    )
    assert should_restart(any_failure, verdict, 0) is on_any


def worker(index: int, **seen: Any) -> ProcessView:
    return ProcessView(
        "worker", index, **{"state": ProcessState.RUNNING, "heartbeat_at": NOW, **seen}
    )


def failed(index: int, code: int, *, ago: float = 1.0) -> ProcessView:
    at = NOW - timedelta(seconds=ago)
    return worker(index, state=ProcessState.EXITED, exit_code=code, exited_at=at)


LONG_AGO = NOW - timedelta(seconds=15)
CAUSES = [
    ("the peer beats on", [failed(0, 1), worker(1)], ("process_failed", "worker-0")),
    (
        "the peer is silent, which may be why",
        [failed(0, 1), worker(1, heartbeat_at=LONG_AGO)],
        None,
    ),
    (
        "the peer is silent, and nothing else shows for a minute",
        [
            failed(0, 1, ago=ROOT_CAUSE_WINDOW.total_seconds() + 1),
            worker(1, heartbeat_at=LONG_AGO),
        ],
        ("process_failed", "worker-0"),
    ),
    ("what the peer left is still shipped", [failed(0, 1), worker(1, is_shipping=True)], None),
    ("the peer is lost", [failed(0, 1), worker(1, is_alive=False)], ("lost", "worker-1")),
    (
        "the peer was killed, told later",
        [failed(0, 1, ago=2), failed(1, 137)],
        ("process_failed", "worker-1"),
    ),
    (
        "the peer's crash came later, so it is the echo",
        [failed(0, 1, ago=2), failed(1, 134)],
        ("process_failed", "worker-0"),
    ),
]


@pytest.mark.parametrize(("seen", "found"), [c[1:] for c in CAUSES], ids=[c[0] for c in CAUSES])
def test_the_failure_of_a_gang_is_put_down_to_its_cause(seen, found):
    verdict = end_verdict(Mode.MULTI_WORKER, seen, NOW)
    assert (verdict and (verdict.reason.value, verdict.process)) == found


@pytest.mark.django_db
def test_a_killed_worker_brings_the_whole_gang_up_again(submit: Submit, backend: FakeBackend):
    run = bring_up(submit(distributed_training=TWO_WORKERS, max_restarts=1))
    first = processes(run)
    end(first[1], 137, "was killed by signal 9 (SIGKILL)")
    assert tick(run).status == RunStatus.RUNNING
    assert run.requeue_reason == RequeueReason.RESTART
    end(first[0], 1)
    leave(run, backend)
    tick(run)
    bring_up(run)
    second = processes(run)
    assert run.status == RunStatus.RUNNING
    assert [p.pk for p in second] != [p.pk for p in first]
    variables = [[p.launch["environment"] for p in attempt] for attempt in (first, second)]
    assert variables[0] == variables[1]
    assert "TF_CONFIG" in variables[0][0]
    assert not [call for call in backend.calls if call[0] == "remove_checkpoints"]
    (asked,) = [e.data for e in events_after(run, 0) if e.type == "run.requeue_requested"]
    assert asked["message"] == "worker-1 was killed by signal 9 (SIGKILL). Restart 1 of 1."

    end(second[0], 137, "was killed by signal 9 (SIGKILL)")
    end(second[1], 1)
    leave(run, backend)
    tick(run)
    assert tick(run).status == RunStatus.FAILED
    assert run.end_reason == EndReason.PROCESS_FAILED
    assert ("remove_checkpoints", f"run-{run.pk}") in backend.calls
    assert not ProcessGroup.objects.filter(removed_at=None).exists()


@pytest.mark.django_db
def test_a_preempted_run_goes_back_and_has_its_whole_grace(submit: Submit, backend: FakeBackend):
    run = bring_up(submit(grace_seconds=20))
    requeue(run, RequeueReason.PREEMPTED, message="Run 9 needs its GPUs.")
    tick(run)
    assert (run.status, run.requeue_reason) == (RunStatus.RUNNING, RequeueReason.PREEMPTED)
    ProcessGroup.objects.update(stop_requested_at=timezone.now() - timedelta(seconds=18))
    tick(run)
    assert ("kill", processes(run)[0].group.label) not in backend.calls
    end(processes(run)[0], 0)
    leave(run, backend)
    run = tick(run)
    assert run.status in {RunStatus.QUEUED, RunStatus.PREPARING, RunStatus.STARTING}
    assert (run.requeue_reason, run.restarts, run.end_reason) == ("", 0, "")


@pytest.mark.django_db
def test_a_run_that_ended_well_before_its_preemption_is_completed(
    submit: Submit, backend: FakeBackend
):
    run = bring_up(submit())
    requeue(run, RequeueReason.PREEMPTED)
    end(processes(run)[0], 0)
    leave(run, backend)
    assert tick(run).status == RunStatus.COMPLETED


@pytest.mark.django_db
def test_a_cancel_wins_over_a_restart(submit: Submit, backend: FakeBackend, bob: User):
    run = bring_up(submit(max_restarts=5))
    requeue(run, RequeueReason.RESTART)
    tick(run)
    request_cancel(run, by=bob)
    end(processes(run)[0], 143)
    leave(run, backend)
    assert tick(run).status == RunStatus.CANCELED


@pytest.mark.django_db
def test_a_stop_that_nobody_asked_for_is_a_restart_not_a_good_end(
    submit: Submit, backend: FakeBackend
):
    run = bring_up(submit(max_restarts=1))
    (process,) = processes(run)
    process_reports.process_exited(
        process, exit_code=0, reason="", out_of_memory=False, was_stopped=True
    )
    process_reports.process_collected(process)
    leave(run, backend)
    tick(run)
    process.refresh_from_db()
    assert process.exit_reason == "was stopped by its machine (SIGTERM)"
    run.refresh_from_db()
    assert run.restarts == 1


def ask_in_vain(run: Run, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> RunReconciler:
    """Return a supervisor whose questions a run's target has not answered for too long."""
    monkeypatch.setattr("workspace.targets.reachability.FIRST_RETRY_SECONDS", 0.0)
    ComputeTarget.objects.update(unreachable_timeout_seconds=0)
    backend.silence = TargetUnreachable("No route to host.")
    reachability = Reachability()
    supervisor = RunReconciler(reachability)
    wait_for(
        lambda: (
            tick(run, supervisor) and reachability.silent_for(run.compute_target) > timedelta(0)
        ),
        "a second question without an answer",
    )
    return supervisor


@pytest.mark.django_db
def test_a_run_on_a_silent_target_is_kept_and_adopted_when_it_answers(
    submit: Submit, backend: FakeBackend
):
    run = bring_up(submit())
    backend.silence = TargetUnreachable("No route to host.")
    tick(run)
    target = ComputeTarget.objects.get()
    assert target.unreachable_reason == "No route to host."
    assert tick(run).status == RunStatus.RUNNING
    assert run.target_unreachable_since is not None
    backend.silence = None
    ComputeTarget.objects.update(unreachable_since=None)
    assert tick(run).status == RunStatus.RUNNING
    assert run.target_unreachable_since is None
    end(processes(run)[0], 0)
    leave(run, backend)
    assert tick(run).status == RunStatus.COMPLETED


@pytest.mark.django_db
def test_a_run_on_a_target_that_is_silent_for_too_long_fails_with_that_reason(
    submit: Submit, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
):
    run = bring_up(submit())
    supervisor = ask_in_vain(run, backend, monkeypatch)
    tick(run, supervisor)
    assert tick(run, supervisor).status == RunStatus.FAILED
    assert run.end_reason == EndReason.TARGET_UNREACHABLE
    assert "has not answered since" in run.end_detail["message"]
    assert "No route to host." in run.end_detail["message"]
    group = ProcessGroup.objects.get()
    assert group.is_fenced
    assert group.removed_at is None

    backend.silence = None
    ComputeTarget.objects.update(unreachable_since=None)
    tick(run)
    group.refresh_from_db()
    assert group.removed_at is not None, "nothing is left once the target answers"
    assert ("remove_checkpoints", f"run-{run.pk}") in backend.calls


@pytest.mark.django_db
def test_a_run_with_restarts_left_waits_for_its_silent_target_in_the_queue(
    submit: Submit, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
):
    run = bring_up(submit(max_restarts=1))
    supervisor = ask_in_vain(run, backend, monkeypatch)
    tick(run, supervisor)
    assert tick(run, supervisor).status == RunStatus.QUEUED
    backend.silence = None
    ComputeTarget.objects.update(unreachable_since=None)
    bring_up(run)
    assert run.status == RunStatus.RUNNING
    assert ProcessGroup.objects.filter(run=run, removed_at=None).count() == 1


@pytest.mark.django_db
def test_a_run_whose_runners_are_heard_of_outlives_the_silence_of_its_target(
    submit: Submit, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
):
    run = bring_up(submit())
    Process.objects.update(heartbeat_at=timezone.now())
    supervisor = ask_in_vain(run, backend, monkeypatch)
    assert tick(run, supervisor).status == RunStatus.RUNNING
    end(processes(run)[0], 0)
    tick(run, supervisor)
    assert run.status == RunStatus.COMPLETED, "it has reported all that there is to know"


@pytest.mark.django_db
@pytest.mark.slow
def test_a_supervisor_that_was_away_asks_before_it_gives_a_run_up(
    submit: Submit, backend: FakeBackend
):
    run = bring_up(submit())
    ComputeTarget.objects.update(
        unreachable_since=timezone.now() - timedelta(days=3), unreachable_reason="No route to host."
    )
    backend.silence = TargetUnreachable("No route to host.")
    supervisor = RunReconciler()
    for _ in range(3):
        assert tick(run, supervisor).status == RunStatus.RUNNING
    backend.silence = None
    wait_for(
        lambda: tick(run, supervisor) and run.target_unreachable_since is None,
        "the run to be adopted",
    )
    assert run.status == RunStatus.RUNNING
