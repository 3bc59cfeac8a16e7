"""The REST API of runs."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from django.utils import timezone
from ninja import File, Form, Query, Router, Schema, Status, UploadedFile

from runs import selectors, services
from runs.config import RunConfig
from runs.lifecycle import phases_of
from runs.models import Process, Run
from runs.scheduling import queue_order
from runs.search.parameters import parameters_of
from runs.search.run_search import RunSearch, read_search
from runs.source.uploads import snapshot_from_archive
from runs.supervision.hang_detection import last_lines
from runs.supervision.idle_processes import IdleProcess, idle_processes
from runs.tracking import NewTrackedRun, track_run
from workspace.accounts.selectors import may, team_for
from workspace.models import Role
from workspace.platform.errors import CollectedErrors, FieldError, Invalid
from workspace.platform.json_body import JsonBody, inline_schema, parse_json
from workspace.platform.openapi import described_by, json_part
from workspace.platform.requests import ApiRequest
from workspace.platform.validation import validate
from workspace.targets.selectors import target_for

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


class IdleProcessOut(Schema):
    """A process that does nothing; `cores` on average since all are idle."""

    name: str
    idle_since: datetime
    last_output_at: datetime | None
    last_file_at: datetime | None
    cores: float
    last_line: str
    waits_for: str


class RunOut(Schema):
    number: int
    status: str
    url: str
    experiment: str
    compute_target: str | None
    created_by: str | None
    priority: int
    created_at: datetime
    ended_at: datetime | None
    wait_reason: str
    end_reason: str
    end_detail: dict[str, Any]
    name: str
    tags: dict[str, str]
    archived: bool
    parent: int | None
    children: int
    restarts: int
    requeue_reason: str
    target_unreachable_since: datetime | None
    hung_since: datetime | None

    @staticmethod
    def resolve_archived(run: Run) -> bool:
        return run.archived_at is not None

    @staticmethod
    def resolve_url(run: Run) -> str:
        return f"/t/{run.team.slug}/runs/{run.number}/"

    @staticmethod
    def resolve_experiment(run: Run) -> str:
        return run.experiment.name

    @staticmethod
    def resolve_compute_target(run: Run) -> str | None:
        return run.target.name if run.target else None

    @staticmethod
    def resolve_parent(run: Run) -> int | None:
        return parent.number if (parent := selectors.parent_of(run)) else None

    @staticmethod
    def resolve_children(run: Run) -> int:
        return run.children_count

    @staticmethod
    def resolve_created_by(run: Run) -> str | None:
        return run.created_by.username if run.created_by else None


class RunDetail(RunOut):
    config: Annotated[dict[str, Any], described_by(RunConfig)]
    description: str
    parameters: dict[str, str]
    warnings: list[dict[str, Any]]
    snapshot: str | None
    phases: list[dict[str, Any]]
    processes: list[ProcessOut]
    attempt: int
    last_lines: dict[str, str]
    idle_processes: list[IdleProcessOut]

    @staticmethod
    def resolve_config(run: Run, context: dict[str, Any]) -> dict[str, Any]:
        if run.is_tracked:
            return {}
        config = RunConfig.from_row(run.config)
        if not may(context["request"].auth, run.team, Role.MEMBER):
            config = config.for_viewers()
        return config.to_json()

    @staticmethod
    def resolve_parameters(run: Run) -> dict[str, str]:
        return parameters_of(run)

    @staticmethod
    def resolve_snapshot(run: Run) -> str | None:
        return run.snapshot.digest if run.snapshot else None

    @staticmethod
    def resolve_phases(run: Run) -> list[dict[str, Any]]:
        return [asdict(phase) for phase in phases_of(run, timezone.now())]

    @staticmethod
    def resolve_attempt(run: Run) -> int:
        return run.attempts.count()

    @staticmethod
    def resolve_last_lines(run: Run) -> dict[str, str]:
        """Return the last line of each process, of a run that makes no progress or is idle."""
        if run.is_over or not (run.hung_since or idle_processes(run)):
            return {}
        return dict(last_lines(run))

    @staticmethod
    def resolve_idle_processes(run: Run) -> list[IdleProcess]:
        return idle_processes(run)

    @staticmethod
    def resolve_processes(run: Run) -> list[Process]:
        return list(selectors.processes_of_run(run))


class RunPage(Schema):
    runs: list[RunOut]
    next_cursor: str


@router.post(
    "teams/{slug}/runs",
    response={201: RunDetail},
    openapi_extra=json_part(
        "config", required=("source", "config"), instead=inline_schema(NewTrackedRun)
    ),
)
def submit(
    request: ApiRequest,
    slug: str,
    config: Annotated[str | None, described_by(RunConfig), Form(None)],
    source: File[UploadedFile | None] = None,
    force: Form[bool] = False,
) -> Status[Run]:
    """Submit a run: `source` is a .zip or .tar.gz, `config` the configuration as JSON.

    With a header Idempotency-Key, the same request again gives the same run. A body of JSON makes
    a tracked run: it has no processes, and is Running until it is ended by PATCH.
    """
    user = request.auth
    team = team_for(user, slug, Role.MEMBER)
    key = request.headers.get("Idempotency-Key", "")
    if request.content_type == "application/json":
        given = validate(NewTrackedRun, parse_json(request.body), name="body")
        tracked = track_run(team=team, by=user, given=given, idempotency_key=key)
        return Status(201, selectors.run_of(team, tracked.number))
    if source is None or config is None:
        raise Invalid.of(*_missing_parts(source, config))
    configuration = parse_json(config, "config")
    snapshot = snapshot_from_archive(team=team, by=user, file=source, filename=source.name or "")
    run = services.submit_run(
        team=team,
        by=user,
        snapshot=snapshot,
        config=configuration,
        force=force,
        idempotency_key=key,
    )
    return Status(201, selectors.run_of(team, run.number))


def _missing_parts(source: UploadedFile | None, config: str | None) -> Iterator[FieldError]:
    if source is None:
        yield FieldError("source", "Send the source directory as a .zip or .tar.gz.")
    if config is None:
        yield FieldError("config", "Send the configuration as JSON.")


@router.get("teams/{slug}/runs", response=RunPage)
def list_runs(
    request: ApiRequest,
    slug: str,
    order_by: Query[list[str]] = [],  # noqa: B006 - ninja reads it, and nobody changes it
    experiment: str = "",
    status: str = "",
    q: str = "",
    tag: str = "",
    archived: str = "",
    parent: str = "",
    filter: str = "",
    sort: str = "",
    cursor: str = "",
) -> dict[str, Any]:
    """List the runs that match all of the filters, the newest first.

    `tag` is a name, or name:value; `archived` true for archived runs alone, any for those too;
    `parent` the number of the run whose children are listed.
    `filter` and `order_by` are as MLflow's search_runs has them, such as `metrics.loss < 0.1 AND
    params.lr = '0.01'` and `metrics.loss DESC`; `sort` is metric, param, tag or attribute, a name,
    and asc or desc, with colons between them. Runs without a value come last.
    """
    team = team_for(request.auth, slug)
    errors = CollectedErrors()
    runs = errors.of(
        lambda: selectors.filtered(
            selectors.runs_of(team),
            experiment=experiment,
            status=status,
            q=q,
            tag=tag,
            archived=archived,
            parent=parent,
        ),
        selectors.runs_of(team),
    )
    search = errors.of(lambda: read_search(filter, order_by, sort), RunSearch())
    errors.raise_all()
    page, next_cursor = search.page(runs, cursor)
    return {"runs": page, "next_cursor": next_cursor}


@router.get("teams/{slug}/runs/{int:number}", response=RunDetail)
def show_run(request: ApiRequest, slug: str, number: int) -> Run:
    return selectors.run_of(team_for(request.auth, slug), number)


@router.patch("teams/{slug}/runs/{int:number}", response=RunDetail)
def change_run(
    request: ApiRequest,
    slug: str,
    number: int,
    payload: Annotated[services.RunChange, JsonBody()],
) -> Run:
    """Change a run's name, description or tags, archive it, or end a tracked run."""
    team = team_for(request.auth, slug, Role.MEMBER)
    services.change_run(run=selectors.run_of(team, number), by=request.auth, change=payload)
    return selectors.run_of(team, number)


@router.delete("teams/{slug}/runs/{int:number}", response={204: None})
def delete_run(request: ApiRequest, slug: str, number: int) -> Status[None]:
    """Delete a run that is over, with its files, logs and metrics; its models stay."""
    team = team_for(request.auth, slug, Role.MEMBER)
    services.delete_run(selectors.run_of(team, number), by=request.auth)
    return Status(204, None)


@router.post("teams/{slug}/runs/{int:number}/cancel", response={202: RunDetail})
def cancel_run(request: ApiRequest, slug: str, number: int) -> Status[Run]:
    """Stop a run and keep its outputs. A second request kills its processes and ends it at once."""
    user = request.auth
    run = selectors.run_of(team_for(user, slug, Role.MEMBER), number)
    services.request_cancel(run, by=user)
    return Status(202, run)


class QueueMoveIn(Schema):
    """Where a waiting run goes: right before another of its team, or to an end of the queue."""

    before: int | None = None
    position: Literal["first", "last"] | None = None


@router.post("teams/{slug}/runs/{int:number}/move", response=RunDetail)
def move_run(request: ApiRequest, slug: str, number: int, move: QueueMoveIn) -> Run:
    """Change the place of a waiting run in its target's queue; admins of the target's team may."""
    team = team_for(request.auth, slug)
    run = selectors.run_of(team, number)
    if (move.before is None) == (move.position is None):
        raise Invalid.of(FieldError("before", "Set either before or position."))
    if move.before is not None:
        queue_order.move_before(run, selectors.run_of(team, move.before), by=request.auth)
    elif move.position == "first":
        queue_order.move_first(run, by=request.auth)
    else:
        queue_order.move_last(run, by=request.auth)
    return selectors.run_of(team, number)


class QueuedRunOut(Schema):
    """A waiting run; of another team only where it stands, and with which priority."""

    place: int
    team: str
    run: int | None
    priority: int
    wait_reason: str


@router.get("teams/{slug}/targets/{name}/queue", response=list[QueuedRunOut])
def show_queue(request: ApiRequest, slug: str, name: str) -> list[QueuedRunOut]:
    """Return the runs that wait on a target, the next one first."""
    team = team_for(request.auth, slug)
    target = target_for(team, name)
    sees_all = queue_order.may_reorder_queue(target, request.auth)
    return [
        QueuedRunOut(
            place=queued.place,
            team=queued.run.team.slug,
            run=queued.run.number if sees_all or queued.run.team == team else None,
            priority=queued.run.priority,
            wait_reason=queued.wait_reason if sees_all or queued.run.team == team else "",
        )
        for queued in queue_order.queue_of(target)
    ]
