"""A supervisor that is killed at any point of a run's life leaves what the next one finishes."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from runs.ingest import process_reports
from runs.models import ProcessGroup, Run, RunEvent
from runs.services import request_cancel
from runs.states import ProcessState, RunStatus
from runs.supervision.reconciler import RunReconciler
from tests.cut_points import CutPoints, Killed, every_cut
from tests.fakes import FakeBackend
from tests.runs.supervision.supervised_runs import Submit, build_environments, end, processes

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MOST_TICKS = 40

Life = Callable[[Run, FakeBackend], None]


def run_well(run: Run, backend: FakeBackend) -> None:
    """The program ends well."""
    end_processes(run, backend, 0)


def fail_once(run: Run, backend: FakeBackend) -> None:
    """The first attempt is killed, the second ends well."""
    end_processes(run, backend, 137 if run.attempts.count() == 1 else 0)


def be_canceled(run: Run, backend: FakeBackend) -> None:
    if run.cancel_requested_at is None and run.created_by is not None:
        request_cancel(run, by=run.created_by)
    end_processes(run, backend, 143)


LIVES = [
    (run_well, "Preparing Starting Running Finalizing Completed"),
    (
        fail_once,
        "Preparing Starting Running Queued Preparing Starting Running Finalizing Completed",
    ),
    (be_canceled, "Preparing Starting Running Finalizing Canceled"),
]


def end_processes(run: Run, backend: FakeBackend, code: int) -> None:
    for process in processes(run):
        if process.state == ProcessState.RUNNING:
            end(process, code)
            backend.alive.get(process.group.label, set()).discard(process.name)


def live(run: Run, backend: FakeBackend, life: Life) -> None:
    """Do what a builder and the runners do next."""
    build_environments()
    for process in processes(run):
        if process.name not in backend.alive.get(process.group.label, ()):
            continue
        if process.state == ProcessState.CREATED:
            process_reports.process_ready(process, node="here")
            process_reports.process_started(process)
            return
    if run.status == RunStatus.RUNNING:
        life(run, backend)


def go_through(run: Run, backend: FakeBackend, life: Life, points: CutPoints) -> None:
    supervisor = RunReconciler()
    for _ in range(MOST_TICKS):
        try:
            with points.watched(backend):
                supervisor.tick()
        except Killed:
            supervisor = RunReconciler()
        run.refresh_from_db()
        if run.is_over:
            return
        live(run, backend, life)


@pytest.mark.parametrize(("life", "statuses"), LIVES, ids=[life.__name__ for life, _ in LIVES])
def test_a_supervisor_killed_at_any_point_leaves_what_the_next_one_finishes(
    submit: Submit, backend: FakeBackend, bob: User, life: Life, statuses: str
) -> None:
    for points in every_cut(at_least=15):
        run = submit(grace_seconds=0, max_restarts=1)
        go_through(run, backend, life, points)
        said = f"killed at {points.where}"
        went = RunEvent.objects.filter(run=run, type="run.status_changed").order_by("seq")
        assert [event.data["to"] for event in went] == statuses.split(), said
        assert not ProcessGroup.objects.filter(run=run, removed_at=None).exists(), said
        assert ProcessGroup.objects.filter(run=run).count() == statuses.count("Starting"), said
        assert not backend.alive, said
        assert not run.requeue_reason, said
