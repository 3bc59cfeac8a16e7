"""The REST API of runs."""

import json
from datetime import datetime
from typing import Any, Literal

from django.utils import timezone
from ninja import File, Form, Router, Schema, Status, UploadedFile

from runs import queue_order, selectors, services
from runs.config import RunConfig
from runs.lifecycle import phases_of
from runs.models import Process, Run
from runs.stillness import last_lines
from runs.uploads import snapshot_from_archive
from workspace.errors import FieldError, Invalid
from workspace.models import Role
from workspace.requests import ApiRequest
from workspace.selectors import target_for, team_for

router = Router(tags=["runs"])


class ProcessOut(Schema):
    name: str
    role: str
    index: int
    state: str
    exit_code: int | None
    reason: str
    node: str
    gpus: list[str]
    address: str

    @staticmethod
    def resolve_reason(process: Process) -> str:
        return process.exit_reason


class RunOut(Schema):
    number: int
    status: str
    url: str
    experiment: str
    compute_target: str
    created_by: str | None
    priority: int
    created_at: datetime
    ended_at: datetime | None
    waiting_because: str
    end_reason: str
    end_detail: dict[str, Any]
    restarts: int
    requeue_because: str
    not_responding_since: datetime | None
    still_since: datetime | None

    @staticmethod
    def resolve_url(run: Run) -> str:
        return f"/t/{run.team.slug}/runs/{run.number}/"

    @staticmethod
    def resolve_experiment(run: Run) -> str:
        return run.experiment.name

    @staticmethod
    def resolve_compute_target(run: Run) -> str:
        return run.target.name

    @staticmethod
    def resolve_created_by(run: Run) -> str | None:
        return run.created_by.username if run.created_by else None


class RunDetail(RunOut):
    config: dict[str, Any]
    warnings: list[dict[str, Any]]
    snapshot: str
    phases: list[dict[str, Any]]
    processes: list[ProcessOut]
    attempt: int
    last_lines: dict[str, str]

    @staticmethod
    def resolve_config(run: Run) -> dict[str, Any]:
        return RunConfig.from_row(run.config).to_json()

    @staticmethod
    def resolve_snapshot(run: Run) -> str:
        return run.snapshot.digest

    @staticmethod
    def resolve_phases(run: Run) -> list[dict[str, Any]]:
        return phases_of(run, timezone.now())

    @staticmethod
    def resolve_attempt(run: Run) -> int:
        return run.attempts.count()

    @staticmethod
    def resolve_last_lines(run: Run) -> dict[str, str]:
        """Give the last line of each process, of a run that makes no progress."""
        return dict(last_lines(run)) if run.still_since and not run.is_over else {}

    @staticmethod
    def resolve_processes(run: Run) -> list[Process]:
        return list(selectors.processes_of_run(run))


class RunPage(Schema):
    runs: list[RunOut]
    next_cursor: str


@router.post("teams/{slug}/runs", response={201: RunDetail})
def submit(
    request: ApiRequest,
    slug: str,
    source: File[UploadedFile],
    config: Form[str],
    force: Form[bool] = False,
) -> Status[Run]:
    """Submit a run: `source` is a .zip or .tar.gz, `config` the configuration as JSON."""
    user = request.auth
    team = team_for(user, slug, Role.MEMBER)
    try:
        configuration = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise Invalid.of(FieldError("config", f"This is not JSON: {error}")) from error
    snapshot = snapshot_from_archive(team=team, by=user, file=source, filename=source.name or "")
    run = services.submit_run(
        team=team,
        by=user,
        snapshot=snapshot,
        config=configuration,
        force=force,
        idempotency_key=request.headers.get("Idempotency-Key", "")[:100],
    )
    return Status(201, run)


@router.get("teams/{slug}/runs", response=RunPage)
def list_runs(
    request: ApiRequest,
    slug: str,
    experiment: str = "",
    status: str = "",
    q: str = "",
    cursor: str = "",
) -> dict[str, Any]:
    team = team_for(request.auth, slug)
    runs = selectors.filtered(selectors.runs_of(team), experiment=experiment, status=status, q=q)
    page, next_cursor = selectors.page_after(runs, cursor)
    return {"runs": page, "next_cursor": next_cursor}


@router.get("teams/{slug}/runs/{int:number}", response=RunDetail)
def show_run(request: ApiRequest, slug: str, number: int) -> Run:
    return selectors.run_of(team_for(request.auth, slug), number)


@router.post("teams/{slug}/runs/{int:number}/cancel", response={202: RunDetail})
def cancel_run(request: ApiRequest, slug: str, number: int) -> Status[Run]:
    user = request.auth
    run = selectors.run_of(team_for(user, slug, Role.MEMBER), number)
    services.request_cancel(run, by=user)
    return Status(202, run)


class Move(Schema):
    """Where a waiting run goes: right before another of its team, or to an end of the queue."""

    before: int | None = None
    position: Literal["first", "last"] | None = None


@router.post("teams/{slug}/runs/{int:number}/move", response=RunDetail)
def move_run(request: ApiRequest, slug: str, number: int, move: Move) -> Run:
    """Change the place of a waiting run in its target's queue; admins of the target's team may."""
    team = team_for(request.auth, slug)
    run = selectors.run_of(team, number)
    if (move.before is None) == (move.position is None):
        raise Invalid.of(FieldError("before", "Give either before or position."))
    if move.before is not None:
        queue_order.move_before(run, selectors.run_of(team, move.before), by=request.auth)
    elif move.position == "first":
        queue_order.move_first(run, by=request.auth)
    else:
        queue_order.move_last(run, by=request.auth)
    return selectors.run_of(team, number)


class QueuedOut(Schema):
    """A waiting run; of another team only where it stands, and with which priority."""

    place: int
    team: str
    run: int | None
    priority: int
    waiting_because: str


@router.get("teams/{slug}/targets/{name}/queue", response=list[QueuedOut])
def show_queue(request: ApiRequest, slug: str, name: str) -> list[QueuedOut]:
    """Give the runs that wait on a target, the next one first."""
    team = team_for(request.auth, slug)
    target = target_for(team, name)
    sees_all = queue_order.may_order(target, request.auth)
    return [
        QueuedOut(
            place=queued.place,
            team=queued.run.team.slug,
            run=queued.run.number if sees_all or queued.run.team == team else None,
            priority=queued.run.priority,
            waiting_because=queued.because if sees_all or queued.run.team == team else "",
        )
        for queued in queue_order.queue_of(target)
    ]
