"""The one place where a run changes its status."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from runs.events import RunRequeueRequested, RunStatusChanged, record, record_numbered
from runs.models import Run, RunEvent
from runs.states import (
    STATUS_OF_REASON,
    TIMESTAMPS,
    TRANSITIONS,
    WITH_PROCESSES,
    EndReason,
    RequeueReason,
    RunStatus,
)
from workspace.platform import wakeup


class ForbiddenTransition(Exception):
    """The table of transitions has no such transition."""


class StaleRun(Exception):
    """Another process changed the run's status first."""


@dataclass(frozen=True)
class PhaseTime:
    """The time that a run spent in one status: from `since` on, in seconds."""

    name: str
    since: str
    seconds: float
    open: bool


@dataclass(frozen=True)
class EndDetail:
    """Why a run ended, as `Run.end_detail` holds it.

    `process` is the one that decided the end, `lines` are its last log lines, `hint` is
    {"title", "remedy"} for an error whose cause is known.
    """

    message: str = ""
    process: str = ""
    exit_code: int | None = None
    lines: list[str] = field(default_factory=list)
    hint: dict[str, str] | None = None


@transaction.atomic
def transition(run: Run, to: RunStatus, **changes: Any) -> RunEvent:
    """Change a run's status, with its timestamp and numbered event, and announce it on commit.

    `changes` are further fields of the run, written by the same UPDATE.
    Raises ForbiddenTransition for a transition that is not in the table, StaleRun when another
    process changed the status first.
    """
    came_from = RunStatus(run.status)
    if to not in TRANSITIONS[came_from]:
        raise ForbiddenTransition(f"{came_from} to {to}")
    at = timezone.now()
    if to in TIMESTAMPS:
        changes[TIMESTAMPS[to]] = at
    moved = Run.objects.filter(pk=run.pk, status=came_from).update(
        status=to, last_seq=F("last_seq") + 1, **changes
    )
    if not moved:
        raise StaleRun(f"{run} is no longer {came_from}")
    run.refresh_from_db(fields=["status", "last_seq", *changes])
    changed = RunStatusChanged(from_=came_from, to=to, reason=run.end_reason)
    event = record_numbered(run, changed, at)
    transaction.on_commit(wakeup.send)
    return event


def requeue(
    run: Run,
    reason: RequeueReason,
    *,
    message: str = "",
    end_reason: str = "",
    process: str = "",
    exit_code: int | None = None,
) -> bool:
    """Request that a run's attempt is stopped and the run queued again.

    The supervisor carries it out; a cancel meanwhile wins. The other arguments go into the run's
    timeline. Returns False for a run without processes and for one that is being queued already.
    """
    with transaction.atomic():
        asked = Run.objects.filter(
            pk=run.pk, status__in=WITH_PROCESSES, requeue_reason="", cancel_requested_at=None
        ).update(
            requeue_reason=reason,
            restarts=F("restarts") + int(reason == RequeueReason.RESTART),
        )
        if asked:
            run.refresh_from_db(fields=["requeue_reason", "restarts"])
            event = RunRequeueRequested(reason, message, end_reason, process, exit_code)
            record(run, event)
            transaction.on_commit(wakeup.send)
    return bool(asked)


def return_to_queue(run: Run) -> None:
    """Queue a run again whose attempt is gone; it has kept its position."""
    transition(
        run,
        RunStatus.QUEUED,
        requeue_reason="",
        target_unreachable_since=None,
        hung_since=None,
        preparing_at=None,
        starting_at=None,
        running_at=None,
    )


def finalize(
    run: Run,
    reason: EndReason,
    *,
    message: str,
    process: str = "",
    exit_code: int | None = None,
    lines: Sequence[str] = (),
) -> None:
    """Start finalizing a run; `reason` decides its outcome, `message` explains it in a sentence."""
    detail = EndDetail(message, process, exit_code, list(lines))
    transition(
        run,
        RunStatus.FINALIZING,
        end_reason=reason,
        end_detail=asdict(detail),
        wait_reason="",
        requeue_reason="",
        hung_since=None,
    )


def conclude(
    run: Run,
    *,
    lines: Sequence[str] | None = None,
    hint: dict[str, str] | None = None,
    missing: str = "",
) -> None:
    """Set the final status that a finalized run's end reason stands for.

    `lines` and `hint` complete its EndDetail; `missing` tells what could not be kept of it.
    """
    detail = EndDetail(**run.end_detail)
    if missing:
        detail = replace(detail, message=f"{detail.message} {missing}".strip())
    if lines is not None:
        detail = replace(detail, lines=list(lines), hint=hint)
    outcome = STATUS_OF_REASON[EndReason(run.end_reason)]
    transition(run, outcome, end_detail=asdict(detail))


def phases_of(run: Run, now: datetime) -> list[PhaseTime]:
    """Return the phases that a run has reached; the last one lasts until `now`."""
    marks = [
        (RunStatus.QUEUED, None if run.is_tracked else _queued_at(run)),
        (RunStatus.PREPARING, run.preparing_at),
        (RunStatus.STARTING, run.starting_at),
        (RunStatus.RUNNING, run.running_at),
        (RunStatus.FINALIZING, run.finalizing_at),
    ]
    reached = [(status, at) for status, at in marks if at is not None]
    ends = [at for _, at in reached[1:]] + [run.ended_at or now]
    return [
        PhaseTime(
            name=status.value,
            since=at.isoformat(),
            seconds=round(max((end - at).total_seconds(), 0.0), 3),
            open=run.ended_at is None and status == run.status,
        )
        for (status, at), end in zip(reached, ends, strict=True)
    ]


def _queued_at(run: Run) -> datetime:
    """Return when a run was queued, or queued again the last time."""
    back = (
        RunEvent.objects.filter(run=run, type=RunStatusChanged.type, data__to=RunStatus.QUEUED)
        .order_by("seq")
        .last()
    )
    return back.at if back else run.created_at
