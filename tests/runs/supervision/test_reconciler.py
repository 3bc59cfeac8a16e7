"""From the queue to the end: what the supervisor does with a run, come what may."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from runs.ingest import process_reports
from runs.models import ProcessGroup, Run
from runs.services import request_cancel
from runs.states import EndReason, ProcessState, RunStatus
from tests.fakes import FakeBackend, HalfStartingBackend, LyingBackend
from tests.runs.supervision.supervised_runs import (
    Submit,
    bring_up,
    build_environments,
    end,
    leave,
    processes,
    serve_targets_with,
    tick,
)
from workspace.compute.base import BackendError
from workspace.models import Environment, EnvironmentState, Team
from workspace.platform.errors import Conflict, Invalid

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def test_a_run_goes_through_every_phase(submit: Submit, backend: FakeBackend):
    run = submit()
    assert run.status == RunStatus.QUEUED
    assert tick(run).status == RunStatus.PREPARING
    build_environments()
    assert tick(run).status == RunStatus.STARTING
    (process,) = processes(run)
    assert process_reports.process_ready(process, node="here")
    process_reports.process_started(process)
    assert tick(run).status == RunStatus.RUNNING
    end(process)
    leave(run, backend)
    assert tick(run).status == RunStatus.COMPLETED
    assert ("remove", ProcessGroup.objects.get().label) in backend.calls


def test_the_barrier_opens_when_the_last_one_is_there(submit: Submit):
    run = submit(distributed_training={"type": "multi_worker", "worker_count": 2})
    tick(run)
    build_environments()
    tick(run)
    first, second = processes(run)
    assert not process_reports.process_ready(first, node="a")
    assert tick(run).status == RunStatus.STARTING
    assert process_reports.process_ready(second, node="b")
    assert process_reports.process_ready(first, node="a")


def test_a_failed_worker_ends_the_run_with_its_name(submit: Submit, backend: FakeBackend):
    run = bring_up(submit(distributed_training={"type": "multi_worker", "worker_count": 2}))
    end(processes(run)[1], 137, "was killed by signal 9 (SIGKILL)")
    assert tick(run).status == RunStatus.FINALIZING
    end(processes(run)[0], 143, "was stopped (SIGTERM)")
    leave(run, backend)
    assert tick(run).status == RunStatus.FAILED
    assert run.end_reason == EndReason.PROCESS_FAILED
    assert run.end_detail["message"] == "worker-1 was killed by signal 9 (SIGKILL)."


def test_a_canceled_run_stops_and_ends_canceled(submit: Submit, bob: User, backend: FakeBackend):
    run = bring_up(submit())
    request_cancel(run, by=bob)
    assert tick(run).status == RunStatus.FINALIZING
    assert ("stop", ProcessGroup.objects.get().label) in backend.calls
    end(processes(run)[0], 143, "was stopped (SIGTERM)")
    leave(run, backend)
    assert tick(run).status == RunStatus.CANCELED
    with pytest.raises(Conflict):
        request_cancel(run, by=bob)


def test_what_ignores_its_stop_is_killed_after_the_grace(submit: Submit, bob: User, backend):
    run = bring_up(submit(grace_seconds=0))
    request_cancel(run, by=bob)
    tick(run)
    ProcessGroup.objects.update(stop_requested_at=timezone.now() - timedelta(seconds=10))
    assert tick(run).status == RunStatus.FINALIZING
    assert ("kill", ProcessGroup.objects.get().label) in backend.calls
    assert tick(run).status == RunStatus.CANCELED


def test_one_that_was_collected_a_moment_ago_takes_no_other_down_before_its_grace(
    submit: Submit, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
):
    cluster = {"type": "parameter_server", "worker_count": 1, "parameter_server_count": 1}
    run = bring_up(submit(distributed_training=cluster))
    worker, server = processes(run)
    process_reports.process_exited(worker, exit_code=0, reason="", out_of_memory=False)
    observe = backend.observe

    def observe_after_the_worker_has_left(label: str):
        process_reports.process_collected(worker)
        backend.alive[label] = {server.name}
        return observe(label)

    monkeypatch.setattr(backend, "observe", observe_after_the_worker_has_left)
    assert tick(run).status == RunStatus.FINALIZING
    end(server, code=143)
    leave(run, backend)
    assert tick(run).status == RunStatus.COMPLETED


def test_a_queued_run_is_canceled_at_once(submit: Submit, bob: User):
    run = submit()
    request_cancel(run, by=bob)
    assert tick(run).status == RunStatus.CANCELED


def test_a_build_that_fails_fails_the_run_in_the_resolvers_words(submit: Submit):
    run = submit(pip_packages=["no-such-thing"])
    tick(run)
    Environment.objects.update(
        state=EnvironmentState.FAILED, error="no-such-thing was not found", built_at=timezone.now()
    )
    assert tick(run).status == RunStatus.FAILED
    assert run.end_reason == EndReason.ENVIRONMENT_FAILED
    assert run.end_detail["lines"] == ["no-such-thing was not found"]


def test_a_group_that_cannot_start_fails_with_the_targets_words(submit: Submit, backend):
    run = submit()
    tick(run)
    build_environments()
    backend.start_error = BackendError("The disk is full.")
    tick(run)
    assert tick(run).status == RunStatus.FAILED
    assert run.end_detail["message"] == "The disk is full."


def test_what_a_start_that_failed_half_way_left_is_ended_and_removed(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
):
    backend = HalfStartingBackend()
    serve_targets_with(backend, monkeypatch)
    run = submit(grace_seconds=0, distributed_training={"type": "multi_worker", "worker_count": 2})
    tick(run)
    build_environments()
    tick(run)
    tick(run)
    ProcessGroup.objects.update(stop_requested_at=timezone.now() - timedelta(seconds=10))
    tick(run)
    assert tick(run).status == RunStatus.FAILED
    assert backend.alive == {}
    assert run.end_detail["message"] == "The disk is full."


def test_a_target_that_shows_a_dead_process_as_alive_ends_no_run_late(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
):
    """What runners report counts before what the target says."""
    backend = LyingBackend()
    serve_targets_with(backend, monkeypatch)
    run = bring_up(submit())
    end(processes(run)[0])
    tick(run)
    assert tick(run).status == RunStatus.COMPLETED


def test_a_process_that_never_comes_up_ends_the_run(submit: Submit, backend: FakeBackend):
    run = submit(
        start_timeout_seconds=5, distributed_training={"type": "multi_worker", "worker_count": 2}
    )
    tick(run)
    build_environments()
    tick(run)
    process_reports.process_ready(processes(run)[0], node="here")
    Run.objects.update(starting_at=timezone.now() - timedelta(seconds=6))
    assert tick(run).status == RunStatus.FINALIZING
    assert run.end_detail["message"] == "worker-1 did not become ready within 5 s."


def test_a_process_that_is_gone_ends_the_run_as_lost(submit: Submit, backend: FakeBackend):
    run = bring_up(submit())
    leave(run, backend)
    tick(run)
    assert tick(run).status == RunStatus.FAILED
    assert run.end_reason == EndReason.LOST


def test_the_maximum_duration_is_kept(submit: Submit):
    run = bring_up(submit(max_run_duration_seconds=60))
    Run.objects.update(running_at=timezone.now() - timedelta(seconds=61))
    assert tick(run).status == RunStatus.FINALIZING
    assert run.end_reason == EndReason.TIME_LIMIT


def test_a_report_that_comes_twice_counts_once(submit: Submit):
    run = bring_up(submit())
    (process,) = processes(run)
    end(process, 3)
    end(process, 0)
    process.refresh_from_db()
    assert (process.state, process.exit_code) == (ProcessState.EXITED, 3)


def test_what_does_not_fit_waits_and_says_why(submit: Submit):
    first, second = (submit(cpus_per_process=3, memory_gb=1) for _ in range(2))
    tick(first)
    second.refresh_from_db()
    assert second.status == RunStatus.QUEUED
    assert second.wait_reason == "Needs 3 CPUs and 1 GB memory; 1 of 4 CPUs is free."


def test_what_can_never_fit_is_refused_with_the_numbers(submit: Submit):
    with pytest.raises(Invalid) as refused:
        submit(cpus_per_process=3, distributed_training={"type": "multi_worker", "worker_count": 2})
    assert [error.field for error in refused.value.errors] == ["cpus_per_process"]
    assert "6 CPUs; target local has 4" in refused.value.errors[0].message


def test_a_paused_target_starts_nothing(submit: Submit, team: Team):
    run = submit()
    team.targets.update(is_paused=True)
    assert tick(run).status == RunStatus.QUEUED
    assert "paused" in run.wait_reason
