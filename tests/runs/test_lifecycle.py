"""One door changes a run's status, along the table's arrows, once."""

import itertools

import pytest
from django.utils import timezone

from runs.events import group_of_run
from runs.lifecycle import (
    ForbiddenTransition,
    StaleRun,
    finalize,
    phases_of,
    requeue,
    return_to_queue,
    transition,
)
from runs.models import Run
from runs.selectors import events_after
from runs.states import STATUS_OF_REASON, TERMINAL, TRANSITIONS, EndReason, RequeueReason, RunStatus
from tests.factories import make_run, make_team

pytestmark = pytest.mark.django_db

MISSING = [(a, b) for a, b in itertools.product(RunStatus, RunStatus) if b not in TRANSITIONS[a]]


@pytest.mark.parametrize(("came_from", "to"), MISSING, ids=[f"{a}-{b}" for a, b in MISSING])
def test_a_move_that_is_not_in_the_table_is_refused(came_from: RunStatus, to: RunStatus):
    run = make_run(make_team(), status=came_from)
    with pytest.raises(ForbiddenTransition):
        transition(run, to)
    assert Run.objects.get(pk=run.pk).status == came_from


def test_the_second_of_two_movers_is_told_that_it_is_late():
    run = make_run(make_team())
    other = Run.objects.get(pk=run.pk)
    transition(run, RunStatus.PREPARING)
    with pytest.raises(StaleRun):
        transition(other, RunStatus.FINALIZING)


def test_every_move_has_its_time_and_a_numbered_event():
    run = make_run(make_team())
    transition(run, RunStatus.PREPARING)
    finalize(run, EndReason.CANCELED, message="Canceled on request.")
    assert [event.seq for event in events_after(run, 0)] == [1, 2]
    assert run.preparing_at is not None
    assert run.finalizing_at is not None
    names = [phase.name for phase in phases_of(run, run.finalizing_at)]
    assert names == ["Queued", "Preparing", "Finalizing"]


def test_every_end_reason_has_an_outcome():
    assert STATUS_OF_REASON.keys() == set(EndReason)
    assert set(STATUS_OF_REASON.values()) == TERMINAL


def test_watchers_and_the_supervisor_are_told_only_after_commit(
    django_capture_on_commit_callbacks, monkeypatch: pytest.MonkeyPatch
):
    told: list[object] = []
    monkeypatch.setattr("runs.events.nudge", lambda *nudge: told.append(nudge))
    monkeypatch.setattr("workspace.platform.wakeup.send", lambda: told.append("supervisor"))
    run = make_run(make_team())
    with django_capture_on_commit_callbacks(execute=True):
        transition(run, RunStatus.PREPARING)
        assert told == []
    assert told == [(group_of_run(run.pk), "event", ""), "supervisor"]


def test_a_run_is_put_back_once_and_keeps_the_time_of_its_return():
    run = make_run(make_team())
    assert not requeue(run, RequeueReason.PREEMPTED), "it has no processes yet"
    for status in (RunStatus.PREPARING, RunStatus.STARTING, RunStatus.RUNNING):
        transition(run, status)
    assert requeue(run, RequeueReason.PREEMPTED, message="Run 7 needs its GPUs.")
    assert not requeue(run, RequeueReason.RESTART), "it is on its way back already"
    assert (run.requeue_reason, run.restarts) == (RequeueReason.PREEMPTED, 0)
    return_to_queue(run)
    assert (run.status, run.requeue_reason, run.running_at) == (RunStatus.QUEUED, "", None)
    back = events_after(run, 0).last()
    assert back is not None
    (phase,) = phases_of(run, back.at)
    assert (phase.name, phase.since) == ("Queued", back.at.isoformat())


def test_a_run_that_is_to_be_canceled_is_not_put_back():
    run = make_run(make_team(), status=RunStatus.RUNNING, cancel_requested_at=timezone.now())
    assert not requeue(run, RequeueReason.RESTART)
    run.refresh_from_db()
    assert (run.requeue_reason, run.restarts) == ("", 0)
