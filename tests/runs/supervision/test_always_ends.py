"""A run always ends, whatever its runners and its target do; at once if asked twice."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from runs.files.folders import logs_folder
from runs.files.store import LOGS
from runs.ingest import process_reports
from runs.lifecycle import requeue
from runs.logs.log_file import log_of
from runs.models import ProcessGroup, Run
from runs.services import request_cancel
from runs.source.blobs import store_for
from runs.states import EndReason, RequeueReason, RunStatus
from runs.supervision import teardown
from runs.supervision.reconciler import TEARDOWN_GRACE, RunReconciler
from tests.factories import bearer, make_group
from tests.fakes import FakeBackend, LyingBackend
from tests.runs.supervision.supervised_runs import (
    Submit,
    bring_up,
    build_environments,
    end,
    processes,
    tick,
)
from workspace.compute.base import BackendError, TargetUnreachable
from workspace.models import ComputeTarget

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
TIMEOUT = 100


class Clock:
    """Stands for the module time of teardowns."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Clock:
    clock = Clock()
    settings.TRAINYARD_FINALIZE_TIMEOUT = TIMEOUT
    monkeypatch.setattr(teardown, "time", clock)
    monkeypatch.setattr(teardown, "LOOK_EVERY_SECONDS", 0.0)
    return clock


def report_exit(run: Run, code: int = 0) -> None:
    for process in processes(run):
        process_reports.process_exited(process, exit_code=code, reason="", out_of_memory=False)


def group_of(run: Run) -> ProcessGroup:
    return ProcessGroup.objects.get(run=run)


def assert_nothing_is_held(run: Run) -> None:
    assert not ProcessGroup.objects.filter(run=run, removed_at=None).exists()


def test_a_runner_that_hangs_after_its_exit_is_killed_and_what_is_missing_is_named(
    submit: Submit, backend: FakeBackend, clock: Clock
) -> None:
    run, supervisor = bring_up(submit()), RunReconciler()
    report_exit(run)
    assert tick(run, supervisor).status == RunStatus.FINALIZING
    clock.now += TIMEOUT - 1
    assert tick(run, supervisor).status == RunStatus.FINALIZING
    assert ("kill", group_of(run).label) not in backend.calls
    clock.now += 2 + TEARDOWN_GRACE.total_seconds()
    tick(run, supervisor)
    assert ("kill", group_of(run).label) in backend.calls
    assert tick(run, supervisor).status == RunStatus.COMPLETED
    assert run.end_detail["message"] == (
        "worker-0 completed. What worker-0 had not sent by then is missing."
    )
    assert_nothing_is_held(run)


def test_a_grace_longer_than_the_timeout_is_granted(
    submit: Submit, backend: FakeBackend, clock: Clock, bob: User
) -> None:
    run, supervisor = bring_up(submit(grace_seconds=5 * TIMEOUT)), RunReconciler()
    request_cancel(run, by=bob)
    tick(run, supervisor)
    for _ in range(5):
        clock.now += TIMEOUT
        assert tick(run, supervisor).status == RunStatus.FINALIZING
        assert ("kill", group_of(run).label) not in backend.calls
    clock.now += TIMEOUT + 1
    tick(run, supervisor)
    assert ("kill", group_of(run).label) in backend.calls


def test_a_runner_that_goes_on_sending_is_left_to_it(
    submit: Submit, backend: FakeBackend, clock: Clock
) -> None:
    run, supervisor = bring_up(submit()), RunReconciler()
    report_exit(run)
    tick(run, supervisor)
    (process,) = processes(run)
    for number in range(4):
        clock.now += TIMEOUT - 1
        log_of(group_of(run).label, process.name).append(number * 5, b"line\n")
        assert tick(run, supervisor).status == RunStatus.FINALIZING
    for sent in (1000, 2000, 3000):
        clock.now += TIMEOUT - 1
        run.attempts.get().processes.update(uploaded_bytes=sent)
        assert tick(run, supervisor).status == RunStatus.FINALIZING
    assert ("kill", group_of(run).label) not in backend.calls


def test_what_is_recovered_after_the_kill_counts_as_progress(
    submit: Submit, backend: FakeBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, supervisor = bring_up(submit()), RunReconciler()
    report_exit(run)
    tick(run, supervisor)
    clock.now += TIMEOUT + 1
    monkeypatch.setattr(backend, "recover_outputs", lambda label, names: names)
    tick(run, supervisor)
    (process,) = processes(run)
    for number in range(4):
        clock.now += TIMEOUT - 1
        log_of(group_of(run).label, process.name).append(number * 5, b"line\n")
        assert tick(run, supervisor).status == RunStatus.FINALIZING
    process_reports.process_collected(process)
    assert tick(run, supervisor).status == RunStatus.COMPLETED
    assert run.end_detail["message"] == "worker-0 completed."


def hang_alive(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kill helps: the process waits for a disk that is gone."""
    lying = LyingBackend()
    monkeypatch.setattr(backend, "observe", lambda label: lying.observe(label))


def refuse_to_observe(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(label: str) -> None:
        raise BackendError("The engine is confused.", retryable=True)

    monkeypatch.setattr(backend, "observe", refuse)


def refuse_everything(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise BackendError("The engine is confused.")

    for call in ("observe", "stop", "kill", "remove", "remove_checkpoints"):
        monkeypatch.setattr(backend, call, refuse)


def break_down(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_it(*arguments: object) -> None:
        raise RuntimeError("a bug of ours")

    for call in ("observe", "stop", "kill", "remove"):
        monkeypatch.setattr(backend, call, break_it)


def fall_silent(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.silence = TargetUnreachable("No route to host.")


TROUBLES = [hang_alive, refuse_to_observe, refuse_everything, break_down, fall_silent]
Trouble = Callable[[FakeBackend, pytest.MonkeyPatch], None]
trouble_of_any_kind = pytest.mark.parametrize(
    "trouble", TROUBLES, ids=[trouble.__name__ for trouble in TROUBLES]
)


@trouble_of_any_kind
def test_finalizing_ends_whatever_the_target_does(
    submit: Submit,
    backend: FakeBackend,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Trouble,
) -> None:
    run, supervisor = bring_up(submit()), RunReconciler()
    report_exit(run)
    tick(run, supervisor)
    trouble(backend, monkeypatch)
    for _ in range(3):
        tick(run, supervisor)
        clock.now += TIMEOUT + 1
    tick(run, supervisor)
    assert run.status == RunStatus.COMPLETED
    assert "What worker-0 had not sent by then is missing." in run.end_detail["message"]


def test_checkpoints_that_cannot_be_removed_keep_no_run_from_its_end(
    submit: Submit, backend: FakeBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise BackendError("The folder is busy.", retryable=True)

    monkeypatch.setattr(backend, "remove_checkpoints", refuse)
    run, supervisor = bring_up(submit()), RunReconciler()
    for process in processes(run):
        end(process)
    for _ in range(3):
        assert tick(run, supervisor).status == RunStatus.FINALIZING
        clock.now += TIMEOUT
    assert tick(run, supervisor).status == RunStatus.COMPLETED
    assert run.end_detail["message"] == "worker-0 completed."


def test_a_run_that_was_given_up_ends_as_soon_as_its_metrics_are_read(
    submit: Submit, backend: FakeBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, supervisor = bring_up(submit()), RunReconciler()
    (logs_folder(group_of(run).label, "worker-0") / LOGS).mkdir(parents=True)
    report_exit(run)
    tick(run, supervisor)
    refuse_everything(backend, monkeypatch)
    clock.now += 3 * TIMEOUT
    assert tick(run, supervisor).status == RunStatus.FINALIZING, "its metrics are being read"
    ProcessGroup.objects.update(metrics_read_at=timezone.now())
    assert tick(run, supervisor).status == RunStatus.COMPLETED


@trouble_of_any_kind
def test_a_second_cancel_ends_a_run_at_the_next_tick_whatever_the_target_does(
    submit: Submit,
    backend: FakeBackend,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Trouble,
) -> None:
    run = bring_up(submit())
    trouble(backend, monkeypatch)
    request_cancel(run, by=bob)
    assert tick(run).status == RunStatus.FINALIZING
    request_cancel(run, by=bob)
    assert tick(run).status == RunStatus.CANCELED
    assert group_of(run).is_fenced


def test_what_was_abandoned_frees_its_share_once_its_target_lets_it_be_removed(
    submit: Submit, backend: FakeBackend, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, later = bring_up(submit(cpus_per_process=3)), submit(cpus_per_process=3)
    with monkeypatch.context() as broken:
        refuse_everything(backend, broken)
        request_cancel(run, by=bob)
        request_cancel(run, by=bob)
        assert tick(run).status == RunStatus.CANCELED
        assert tick(later).status == RunStatus.QUEUED, "its processes may still run"
    assert tick(later).status == RunStatus.STARTING
    assert_nothing_is_held(run)


def queued(submit: Submit) -> Run:
    return submit()


def preparing(submit: Submit) -> Run:
    return tick(submit())


def starting(submit: Submit) -> Run:
    run = preparing(submit)
    build_environments()
    return tick(run)


def running(submit: Submit) -> Run:
    return bring_up(submit())


def restarting(submit: Submit) -> Run:
    run = bring_up(submit())
    requeue(run, RequeueReason.PREEMPTED)
    return tick(run)


def finalizing(submit: Submit) -> Run:
    run = bring_up(submit())
    report_exit(run)
    return tick(run)


STAGES = [queued, preparing, starting, running, restarting, finalizing]


@pytest.mark.parametrize("stage", STAGES, ids=[stage.__name__ for stage in STAGES])
@pytest.mark.parametrize("asked", [1, 2], ids=["asked once", "asked twice"])
def test_cancel_ends_a_run_in_every_status_and_frees_its_share(
    submit: Submit,
    backend: FakeBackend,
    clock: Clock,
    bob: User,
    stage: Callable[[Submit], Run],
    asked: int,
) -> None:
    """The runner does nothing at all, and what it sends now and then does not help it."""
    run, supervisor = stage(submit), RunReconciler()
    for _ in range(asked):
        request_cancel(run, by=bob)
    for number in range(8 if asked == 1 else 1):
        tick(run, supervisor)
        clock.now += TIMEOUT / 2
        for process in processes(run):
            process.group.processes.update(uploaded_bytes=number)
    expected = RunStatus.COMPLETED if stage is finalizing else RunStatus.CANCELED
    assert run.status == expected
    assert_nothing_is_held(run)
    assert all(not alive for alive in backend.alive.values())


def test_a_start_that_the_target_puts_off_again_and_again_ends_in_time(
    submit: Submit, backend: FakeBackend
) -> None:
    run = submit(start_timeout_seconds=5)
    tick(run)
    build_environments()
    backend.start_error = BackendError("All networks are taken.", retryable=True)
    assert tick(run).status == RunStatus.STARTING
    Run.objects.update(starting_at=timezone.now() - timedelta(seconds=6))
    tick(run)
    assert tick(run).status == RunStatus.FAILED
    assert run.end_reason == EndReason.START_FAILED
    assert run.end_detail["message"] == "All networks are taken."


def lose_the_key(run: Run) -> None:
    Run.objects.update(encrypted_image_login="of another SECRET_KEY")


def lose_the_manifest(run: Run) -> None:
    store_for(run.team).path(run.source.digest).unlink()


def damage_the_manifest(run: Run) -> None:
    path = store_for(run.team).path(run.source.digest)
    path.chmod(0o600)
    path.write_text("{}")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lose_the_key, "SECRET_KEY"),
        (lose_the_manifest, "are missing from the storage."),
        (damage_the_manifest, "is damaged in the storage. Upload the files again."),
    ],
)
def test_what_keeps_a_run_from_being_prepared_for_good_ends_it_and_says_why(
    submit: Submit, backend: FakeBackend, harm: Callable[[Run], None], said: str
) -> None:
    run = submit()
    harm(run)
    tick(run)
    assert tick(run).status == RunStatus.FAILED
    assert run.end_reason == EndReason.START_FAILED
    assert said in run.end_detail["message"]


def test_an_attempt_that_an_older_version_left_is_removed_before_the_next_starts(
    submit: Submit, backend: FakeBackend
) -> None:
    run = preparing(submit)
    group = make_group(run)
    build_environments()
    for _ in range(3):
        tick(run)
    assert run.status == RunStatus.STARTING
    group.refresh_from_db()
    assert group.removed_at
    assert ("kill", group.label) in backend.calls


def test_a_run_that_cannot_be_summed_up_ends_all_the_same(
    submit: Submit, backend: FakeBackend, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("The disk is gone.")

    monkeypatch.setattr("runs.supervision.reconciler.failure_summary", fail)
    run = bring_up(submit())
    request_cancel(run, by=bob)
    request_cancel(run, by=bob)
    assert tick(run).status == RunStatus.CANCELED


def test_one_run_that_cannot_be_read_keeps_no_other_from_its_start(
    submit: Submit, backend: FakeBackend
) -> None:
    broken, other = submit(), submit()
    Run.objects.filter(pk=broken.pk).update(config={"of": "another time"})
    assert tick(other).status == RunStatus.PREPARING
    broken.refresh_from_db()
    assert "cannot be read" in broken.wait_reason


def test_the_api_and_the_page_cancel_at_once_when_asked_again(
    submit: Submit, client: Client, bob: User
) -> None:
    run = bring_up(submit())
    path = f"teams/{run.team.slug}/runs/{run.number}/cancel"
    assert client.post(f"/api/v1/{path}", headers=bearer(bob)).status_code == 202
    run.refresh_from_db()
    assert run.cancel_requested_at
    assert run.kill_requested_at is None
    client.force_login(bob)
    page = f"/t/{run.team.slug}/runs/{run.number}/"
    assert "Cancel now" in client.get(page, follow=True).content.decode()
    said = client.post(f"{page}cancel/", follow=True).content.decode()
    assert f"Killing run {run.number}." in said
    run.refresh_from_db()
    assert run.kill_requested_at
    assert "Cancel at once requested by bob." in client.get(f"{page}timeline/").content.decode()
    assert tick(run).status == RunStatus.CANCELED


def test_a_run_on_a_target_that_was_removed_under_it_is_no_error(
    submit: Submit, backend: FakeBackend, bob: User
) -> None:
    run = bring_up(submit())
    ComputeTarget.objects.update(deleted_at=timezone.now())
    request_cancel(run, by=bob)
    request_cancel(run, by=bob)
    assert tick(run).status == RunStatus.CANCELED
