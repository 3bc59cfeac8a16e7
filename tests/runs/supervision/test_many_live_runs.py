"""A tick over many live runs asks the database as often as one over few."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs.models import Run
from runs.states import ProcessState, RunStatus
from runs.supervision import reconciler
from runs.supervision.reconciler import RunReconciler
from tests.factories import make_group, make_run
from tests.fakes import FakeBackend
from tests.runs.conftest import backend
from tests.runs.supervision.supervised_runs import leave, processes, tick
from workspace.compute.base import TargetUnreachable
from workspace.models import Team

__all__ = ["backend"]  # a fixture
pytestmark = pytest.mark.django_db


def live(team: Team, backend: FakeBackend) -> Run:
    run = make_run(team, status=RunStatus.RUNNING)
    group = make_group(run, "worker-0", "worker-1", state=ProcessState.RUNNING)
    backend.alive[group.label] = {"worker-0", "worker-1"}
    return run


def queries_of_a_tick() -> int:
    supervisor = RunReconciler()
    supervisor.tick()
    with CaptureQueriesContext(connection) as captured:
        supervisor.tick()
    return len(captured)


def test_no_query_is_made_for_a_run_that_only_goes_on(
    team: Team, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "HANG_CHECK_SECONDS", 0)
    runs = [live(team, backend)]
    few = queries_of_a_tick()
    runs += [live(team, backend) for _ in range(20)]
    assert queries_of_a_tick() == few
    assert set(Run.objects.values_list("status", flat=True)) == {RunStatus.RUNNING}
    leave(runs[7], backend)
    assert tick(runs[7]).end_reason == "lost", processes(runs[7])
    assert Run.objects.filter(status=RunStatus.RUNNING).count() == 20


def test_a_target_that_does_not_answer_is_asked_once_for_all_of_its_runs(
    team: Team, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [live(team, backend) for _ in range(5)]
    backend.silence = TargetUnreachable("no answer within 10 s")
    asked = []
    look = backend.observe

    def note(label: str) -> object:
        asked.append(label)
        return look(label)

    monkeypatch.setattr(backend, "observe", note)
    tick(runs[0])
    assert len(asked) == 1
    assert Run.objects.exclude(target_unreachable_since=None).count() == 5


def test_one_that_cannot_be_looked_at_keeps_no_other_from_its_look(
    team: Team, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, other = live(team, backend), live(team, backend)
    look = backend.observe

    def stumble(label: str) -> object:
        if label == odd.attempts.get().label:
            raise RuntimeError("a bug of ours")
        return look(label)

    monkeypatch.setattr(backend, "observe", stumble)
    leave(other, backend)
    assert tick(other).end_reason == "lost"
    odd.refresh_from_db()
    assert odd.status == RunStatus.RUNNING
