"""Reads of runs that need more than one line."""

from hashlib import sha256

from django.db.models import Count, IntegerField, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from runs.models import Process, ProcessGroup, Run, RunEvent
from runs.states import RunStatus
from workspace.models import Team
from workspace.platform.errors import FieldError, Invalid, NotFound
from workspace.platform.requests import is_whole_number
from workspace.tags import with_tag

PAGE = 50
MAX_KEY_LENGTH = 100
ARCHIVED = ("", "false", "true", "any")
CHILDREN = {
    "children_count": Coalesce(
        Subquery(
            Run.objects.filter(parent=OuterRef("pk"), deleted_at=None)
            .order_by()
            .values("parent")
            .annotate(count=Count("pk"))
            .values("count"),
            output_field=IntegerField(),
        ),
        0,
    )
}


def runs_of(team: Team) -> QuerySet[Run]:
    return (
        Run.objects.filter(team=team, deleted_at=None)
        .select_related("team", "experiment", "target", "created_by", "snapshot", "parent")
        .annotate(**CHILDREN)
        .order_by("-number")
    )


def bounded_key(key: str) -> str:
    """Return an idempotency key that fits its column, and differs where keys differ."""
    is_long = len(key) > MAX_KEY_LENGTH
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest() if is_long else key


def run_with_key(team: Team, key: str) -> Run | None:
    return Run.objects.filter(team=team, idempotency_key=key).first() if key else None


def next_run_number(team: Team) -> int:
    """Return the number of a team's next run; the team stays locked until the commit."""
    locked = Team.objects.select_for_update().get(pk=team.pk)
    newest = Run.objects.filter(team=team).aggregate(Max("number"))["number__max"]
    return max(newest or 0, locked.last_deleted_run) + 1


def run_of(team: Team, number: int) -> Run:
    run = runs_of(team).filter(number=number).first()
    if run is None:
        raise NotFound(f"{team.name} has no run {number}.")
    return run


def filtered(
    runs: QuerySet[Run],
    *,
    experiment: str = "",
    status: str = "",
    q: str = "",
    tag: str = "",
    archived: str = "",
    parent: str = "",
) -> QuerySet[Run]:
    """Narrow runs by experiment, status, tag, parent, and a text in name, script or author.

    `tag` is a name, or name:value. `archived` is true for archived runs alone, any for those too.
    """
    if archived not in ARCHIVED:
        raise Invalid.of(FieldError("archived", f"Use one of {', '.join(filter(None, ARCHIVED))}."))
    if archived != "any":
        runs = runs.filter(archived_at__isnull=archived != "true")
    if tag:
        runs = with_tag(runs, tag)
    if parent:
        if not is_whole_number(parent):
            raise Invalid.of(FieldError("parent", "Use the number of a run."))
        runs = runs.filter(parent__number=int(parent), parent__deleted_at=None)
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
            Q(name__icontains=q)
            | Q(experiment__name__icontains=q)
            | Q(config__entry_script__icontains=q)
            | Q(created_by__username__icontains=q)
        )
        if is_whole_number(q):
            matches |= Q(number=int(q))
        runs = runs.filter(matches)
    return runs


def page_after(runs: QuerySet[Run], cursor: str) -> tuple[list[Run], str]:
    """Return the runs below the number that `cursor` names, and the cursor of the next page."""
    if cursor:
        if not is_whole_number(cursor):
            raise Invalid.of(FieldError("cursor", "Use the cursor of the previous page."))
        runs = runs.filter(number__lt=int(cursor))
    found = read_slice(runs, 0, PAGE + 1)
    return found[:PAGE], str(found[PAGE - 1].number) if len(found) > PAGE else ""


def read_slice(runs: QuerySet[Run], start: int, stop: int) -> list[Run]:
    """Return some of many runs, in their order, as `runs[start:stop]` does, but faster.

    Their keys are found first, so that only the rows of these few are joined and put in order.
    """
    keys = list(runs.values_list("pk", flat=True)[start:stop])
    rows = {run.pk: run for run in runs.filter(pk__in=keys).order_by()}
    return [rows[key] for key in keys if key in rows]


def parent_of(run: Run) -> Run | None:
    """Return the run that a run belongs to, unless it is deleted."""
    return run.parent if run.parent and run.parent.deleted_at is None else None


def latest_attempt(run: Run) -> ProcessGroup | None:
    return ProcessGroup.objects.filter(run=run).order_by("-attempt").first()


def processes_of_run(run: Run) -> QuerySet[Process]:
    """Return the processes of the run's latest attempt, the deciding one first."""
    group = latest_attempt(run)
    return Process.objects.filter(group=group) if group else Process.objects.none()


def events_after(run: Run, seq: int) -> QuerySet[RunEvent]:
    return RunEvent.objects.filter(run=run, seq__gt=seq).order_by("seq")
