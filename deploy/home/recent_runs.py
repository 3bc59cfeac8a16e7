"""The runs that a team's home shows: what runs, what waits and what failed lately."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import Count, Q, QuerySet

from runs.models import Run
from runs.pages.presentation import FailureSummary, failure_of, length_of
from runs.selectors import read_slice, runs_of
from runs.states import RunStatus
from workspace.models import Team

MAX_RUNS = 6
LATELY = timedelta(days=7)


@dataclass(frozen=True)
class ShownRun:
    run: Run
    seconds: float | None
    failure: FailureSummary | None


@dataclass(frozen=True)
class RunsNow:
    """The first runs of each kind, and how many there are."""

    running: list[ShownRun]
    running_count: int
    waiting: list[ShownRun]
    waiting_count: int
    failed: list[ShownRun]
    failed_count: int


def runs_now(team: Team, by: User | None, now: datetime) -> RunsNow:
    """Return the runs of a team now, or those alone that `by` submitted."""
    runs = runs_of(team).filter(archived_at=None)
    if by is not None:
        runs = runs.filter(created_by=by)
    unfinished = runs.filter(ended_at=None)
    in_progress = unfinished.exclude(status=RunStatus.QUEUED).order_by("-created_at")
    waiting = unfinished.filter(status=RunStatus.QUEUED).order_by("-priority", "number")
    failed = runs.filter(status=RunStatus.FAILED, ended_at__gte=now - LATELY).order_by("-ended_at")
    counts = unfinished.order_by().aggregate(
        waiting=Count("pk", filter=Q(status=RunStatus.QUEUED)),
        running=Count("pk", filter=~Q(status=RunStatus.QUEUED)),
    )
    return RunsNow(
        running=_shown(in_progress, now),
        running_count=counts["running"],
        waiting=_shown(waiting, now),
        waiting_count=counts["waiting"],
        failed=_shown(failed, now),
        failed_count=failed.count(),
    )


def _shown(runs: QuerySet[Run], now: datetime) -> list[ShownRun]:
    return [
        ShownRun(run, length_of(run, now), failure_of(run)) for run in read_slice(runs, 0, MAX_RUNS)
    ]
