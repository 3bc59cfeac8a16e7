"""The one door through which a run changes its status."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from runs.events import group_of_run, nudge_on_commit, record
from runs.models import Run, RunEvent
from runs.states import (
    NEXT,
    OUTCOME,
    TIMESTAMPS,
    WITH_PROCESSES,
    EndReason,
    RequeueReason,
    RunStatus,
)
from workspace import bell


class ForbiddenMove(Exception):
    """The table of arrows has no such arrow."""


class StaleRun(Exception):
    """Another process moved the run first."""


@transaction.atomic
def move(run: Run, to: RunStatus, **changes: Any) -> RunEvent:
    """Take a run to its next status with its time and numbered event, and tell after commit.

    `changes` are further fields of the run, written by the same UPDATE.
    Raises ForbiddenMove for an arrow that is not in the table, StaleRun when the run has moved.
    """
    came_from = RunStatus(run.status)
    if to not in NEXT[came_from]:
        raise ForbiddenMove(f"{came_from} to {to}")
    at = timezone.now()
    if to in TIMESTAMPS:
        changes[TIMESTAMPS[to]] = at
    moved = Run.objects.filter(pk=run.pk, status=came_from).update(
        status=to, last_seq=F("last_seq") + 1, **changes
    )
    if not moved:
        raise StaleRun(f"{run} is no longer {came_from}")
    run.refresh_from_db(fields=["status", "last_seq", *changes])
    event = RunEvent.objects.create(
        run=run,
        seq=run.last_seq,
        type="run.status_changed",
        data={"from": came_from, "to": to, "reason": run.end_reason},
        at=at,
    )
    nudge_on_commit(group_of_run(run.pk), "event")
    transaction.on_commit(bell.ring)
    return event


def requeue(run: Run, reason: RequeueReason, **data: Any) -> bool:
    """Ask that a run's attempt is brought to its end and the run put back into the queue.

    The supervisor carries it out; a cancel meanwhile wins. `data` says why in the run's timeline.
    Gives whether it was asked: a run without processes, or on its way back already, is left alone.
    """
    with transaction.atomic():
        asked = Run.objects.filter(
            pk=run.pk, status__in=WITH_PROCESSES, requeue_because="", cancel_requested_at=None
        ).update(
            requeue_because=reason,
            restarts=F("restarts") + int(reason == RequeueReason.RESTART),
        )
        if asked:
            run.refresh_from_db(fields=["requeue_because", "restarts"])
            record(run, "run.requeue_requested", because=reason, **data)
            transaction.on_commit(bell.ring)
    return bool(asked)


def put_back(run: Run) -> None:
    """Put a run whose attempt is gone back into the queue, where it has kept its place."""
    move(
        run,
        RunStatus.QUEUED,
        requeue_because="",
        not_responding_since=None,
        still_since=None,
        preparing_at=None,
        starting_at=None,
        running_at=None,
    )


def finalize(
    run: Run, reason: EndReason, *, message: str, process: str = "", **detail: Any
) -> None:
    """Send a run to its end, whose outcome `reason` decides; `message` says why in one sentence."""
    move(
        run,
        RunStatus.FINALIZING,
        end_reason=reason,
        end_detail={"message": message, "process": process, **detail},
        waiting_because="",
        requeue_because="",
        still_since=None,
    )


def conclude(run: Run, **detail: Any) -> None:
    """Give a finalized run the final status that its end reason stands for."""
    outcome = OUTCOME[EndReason(run.end_reason)]
    move(run, outcome, end_detail=run.end_detail | detail)


def phases_of(run: Run, now: datetime) -> list[dict[str, Any]]:
    """Give the time spent in each phase: name, start, and seconds (the last one until `now`)."""
    marks = [
        (RunStatus.QUEUED, _queued_at(run)),
        (RunStatus.PREPARING, run.preparing_at),
        (RunStatus.STARTING, run.starting_at),
        (RunStatus.RUNNING, run.running_at),
        (RunStatus.FINALIZING, run.finalizing_at),
    ]
    reached = [(status, at) for status, at in marks if at is not None]
    ends = [at for _, at in reached[1:]] + [run.ended_at or now]
    return [
        {
            "name": status.value,
            "since": at.isoformat(),
            "seconds": round(max((end - at).total_seconds(), 0.0), 3),
            "open": run.ended_at is None and status == run.status,
        }
        for (status, at), end in zip(reached, ends, strict=True)
    ]


def _queued_at(run: Run) -> datetime:
    """Give when a run came into the queue, the last time where it did so several times."""
    back = (
        RunEvent.objects.filter(run=run, type="run.status_changed", data__to=RunStatus.QUEUED)
        .order_by("seq")
        .last()
    )
    return back.at if back else run.created_at
