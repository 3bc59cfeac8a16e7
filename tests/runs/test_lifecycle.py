"""One door changes a run's status, along the table's arrows, once."""

import itertools

import pytest
from django.utils import timezone

from runs.lifecycle import ForbiddenMove, StaleRun, finalize, move, phases_of, put_back, requeue
from runs.models import Run
from runs.selectors import events_after
from runs.states import NEXT, OUTCOME, TERMINAL, EndReason, RequeueReason, RunStatus
from tests.factories import make_run, make_team

pytestmark = pytest.mark.django_db

MISSING = [(a, b) for a, b in itertools.product(RunStatus, RunStatus) if b not in NEXT[a]]


@pytest.mark.parametrize(("came_from", "to"), MISSING, ids=[f"{a}-{b}" for a, b in MISSING])
def test_a_move_that_is_not_in_the_table_is_refused(came_from: RunStatus, to: RunStatus):
    run = make_run(make_team(), status=came_from)
    with pytest.raises(ForbiddenMove):
        move(run, to)
    assert Run.objects.get(pk=run.pk).status == came_from


def test_the_second_of_two_movers_is_told_that_it_is_late():
    run = make_run(make_team())
    other = Run.objects.get(pk=run.pk)
    move(run, RunStatus.PREPARING)
    with pytest.raises(StaleRun):
        move(other, RunStatus.FINALIZING)


def test_every_move_has_its_time_and_a_numbered_event():
    run = make_run(make_team())
    move(run, RunStatus.PREPARING)
    finalize(run, EndReason.CANCELED, message="Canceled on request.")
    assert [event.seq for event in events_after(run, 0)] == [1, 2]
    assert run.preparing_at is not None
    assert run.finalizing_at is not None
    names = [phase["name"] for phase in phases_of(run, run.finalizing_at)]
    assert names == ["Queued", "Preparing", "Finalizing"]


def test_every_end_reason_has_an_outcome():
    assert OUTCOME.keys() == set(EndReason)
    assert set(OUTCOME.values()) == TERMINAL


def test_news_are_told_only_after_commit(django_capture_on_commit_callbacks):
    run = make_run(make_team())
    with django_capture_on_commit_callbacks() as told:
        move(run, RunStatus.PREPARING)
    assert told


def test_a_run_is_put_back_once_and_keeps_the_time_of_its_return():
    run = make_run(make_team())
    assert not requeue(run, RequeueReason.PREEMPTED), "it has no processes yet"
    for status in (RunStatus.PREPARING, RunStatus.STARTING, RunStatus.RUNNING):
        move(run, status)
    assert requeue(run, RequeueReason.PREEMPTED, message="Run 7 needs its GPUs.")
    assert not requeue(run, RequeueReason.RESTART), "it is on its way back already"
    assert (run.requeue_because, run.restarts) == (RequeueReason.PREEMPTED, 0)
    put_back(run)
    assert (run.status, run.requeue_because, run.running_at) == (RunStatus.QUEUED, "", None)
    back = events_after(run, 0).last()
    assert back is not None
    (phase,) = phases_of(run, back.at)
    assert (phase["name"], phase["since"]) == ("Queued", back.at.isoformat())


def test_a_run_that_is_to_be_canceled_is_not_put_back():
    run = make_run(make_team(), status=RunStatus.RUNNING, cancel_requested_at=timezone.now())
    assert not requeue(run, RequeueReason.RESTART)
    run.refresh_from_db()
    assert (run.requeue_because, run.restarts) == ("", 0)
