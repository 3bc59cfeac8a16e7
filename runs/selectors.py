"""Reads of runs that need more than one line."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from runs.lifecycle import phases_of
from runs.models import Process, ProcessGroup, Run, RunEvent
from runs.states import RunStatus
from workspace.errors import FieldError, Invalid, NotFound
from workspace.models import Team

PAGE = 50


def runs_of(team: Team) -> QuerySet[Run]:
    return (
        Run.objects.filter(team=team)
        .select_related("team", "experiment", "target", "created_by", "snapshot")
        .order_by("-number")
    )


def run_of(team: Team, number: int) -> Run:
    run = runs_of(team).filter(number=number).first()
    if run is None:
        raise NotFound(f"{team.name} has no run {number}.")
    return run


def filtered(
    runs: QuerySet[Run], *, experiment: str = "", status: str = "", q: str = ""
) -> QuerySet[Run]:
    """Narrow runs by experiment, status, and a text in their script, experiment or author."""
    if experiment:
        runs = runs.filter(experiment__name=experiment)
    if status:
        if status not in RunStatus.values:
            raise Invalid.of(
                FieldError("status", f"{status[:40]!r} is not one of {', '.join(RunStatus.values)}")
            )
        runs = runs.filter(status=status)
    if q:
        matches = (
            Q(experiment__name__icontains=q)
            | Q(config__entry_script__icontains=q)
            | Q(created_by__username__icontains=q)
        )
        if q.isascii() and q.isdigit() and len(q) < 10:
            matches |= Q(number=int(q))
        runs = runs.filter(matches)
    return runs


def page_after(runs: QuerySet[Run], cursor: str) -> tuple[list[Run], str]:
    """Give the runs below the number that `cursor` names, and the cursor of the next page."""
    if cursor:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
            raise Invalid.of(FieldError("cursor", "Use the cursor that the last page gave."))
        runs = runs.filter(number__lt=int(cursor))
    found = list(runs[: PAGE + 1])
    return found[:PAGE], str(found[PAGE - 1].number) if len(found) > PAGE else ""


def latest_attempt(run: Run) -> ProcessGroup | None:
    return ProcessGroup.objects.filter(run=run).order_by("-attempt").first()


def processes_of_run(run: Run) -> QuerySet[Process]:
    """Give the processes of the run's latest attempt, the deciding one first."""
    group = latest_attempt(run)
    return Process.objects.filter(group=group) if group else Process.objects.none()


def events_after(run: Run, seq: int) -> QuerySet[RunEvent]:
    return RunEvent.objects.filter(run=run, seq__gt=seq).order_by("seq")


def status_message(run: Run, now: datetime) -> dict[str, Any]:
    """Give the message `run.status` of the websocket."""
    return {
        "type": "run.status",
        "status": run.status,
        "seq": run.last_seq,
        "at": now.isoformat(),
        "phases": phases_of(run, now),
        "waiting_because": run.waiting_because,
        "end_reason": run.end_reason,
        "end_detail": run.end_detail,
    }


def process_messages(processes: Iterable[Process]) -> list[dict[str, Any]]:
    """Give a message `process.status` of the websocket for each process."""
    return [
        {
            "type": "process.status",
            "process": process.name,
            "state": process.state,
            "exit_code": process.exit_code,
            "reason": process.exit_reason,
            "node": process.node,
        }
        for process in processes
    ]
