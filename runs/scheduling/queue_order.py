"""The order in which a target's runs wait, and how admins change it."""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import FloatField, QuerySet
from django.db.models.functions import Cast, Coalesce

from runs.events import RunMovedInQueue, record
from runs.models import Run
from runs.scheduling.inputs import rank_of
from runs.states import RunStatus
from workspace.accounts.selectors import membership
from workspace.audit import audit
from workspace.models import ComputeTarget, Role
from workspace.platform import wakeup
from workspace.platform.errors import Conflict, FieldError, Forbidden, Invalid


@dataclass(frozen=True)
class QueuePosition:
    """A run that waits on a target, with its place from 1 on and why it waits."""

    place: int
    run: Run
    wait_reason: str


def queue_of(target: ComputeTarget) -> list[QueuePosition]:
    """Return the runs that wait on a target, the next one first."""
    return [
        QueuePosition(place, run, run.wait_reason) for place, run in enumerate(_waiting(target), 1)
    ]


def may_reorder_queue(target: ComputeTarget, user: User) -> bool:
    """Return whether a user may change the order of a target's queue."""
    found = membership(user, target.team)
    return found is not None and Role(found.role).covers(Role.ADMIN)


@transaction.atomic
def move_first(run: Run, *, by: User) -> None:
    """Put a waiting run before all others of its target."""
    others = _others(run, by)
    if others:
        _put_before(run, others[0], others, by)


@transaction.atomic
def move_last(run: Run, *, by: User) -> None:
    """Put a waiting run behind all others of its target, among those of the least priority."""
    others = _others(run, by)
    if others:
        _place(run, others[-1].priority, rank_of(others[-1]) + 1, by)


@transaction.atomic
def move_before(run: Run, other: Run, *, by: User) -> None:
    """Put a waiting run right before another of its target, whose priority it takes on."""
    others = _others(run, by)
    if other not in others:
        raise Invalid.of(
            FieldError(
                "before",
                f"Run {other.number} does not wait on {run.compute_target.name} beside run"
                f" {run.number}.",
            )
        )
    _put_before(run, other, others, by)


def _others(run: Run, by: User) -> list[Run]:
    """Lock the queue that a run is in, and return the other runs there in their order."""
    if run.is_tracked:
        raise Conflict(f"Run {run.number} is tracked: it waits in no queue.")
    target = ComputeTarget.objects.select_for_update().get(pk=run.compute_target.pk)
    if not may_reorder_queue(target, by):
        raise Forbidden(
            f"{target.name} belongs to {target.team.name}: only its admins order the queue."
        )
    run.refresh_from_db(fields=["status", "priority", "queue_rank"])
    if run.status != RunStatus.QUEUED:
        raise Conflict(f"Run {run.number} does not wait any more: it is {run.status}.")
    return [other for other in _waiting(target) if other != run]


def _put_before(run: Run, other: Run, others: list[Run], by: User) -> None:
    equals = [one for one in others if one.priority == other.priority]
    at = equals.index(other)
    high = rank_of(other)
    low = rank_of(equals[at - 1]) if at else high - 2
    rank = (low + high) / 2
    if not low < rank < high:
        _spread(equals)
        return _put_before(run, equals[at], equals, by)
    return _place(run, other.priority, rank, by)


def _spread(equals: list[Run]) -> None:
    """Return runs whole ranks up to that of the last, where halves between them are used up."""
    last = rank_of(equals[-1])
    for back, run in enumerate(reversed(equals)):
        run.queue_rank = last - back
    Run.objects.bulk_update(equals, ["queue_rank"])


def _place(run: Run, priority: int, rank: float, by: User) -> None:
    before = run.priority
    run.priority, run.queue_rank = priority, rank
    run.save(update_fields=["priority", "queue_rank"])
    place = 1 + [one.pk for one in _waiting(run.compute_target)].index(run.pk)
    changed = {} if before == priority else {"priority": priority}
    record(run, RunMovedInQueue(by=by.get_username(), position=place, **changed))
    audit(
        team=run.team,
        actor=by,
        action="run.move_in_queue",
        subject=f"run {run.number}",
        place=place,
        **changed,
    )
    transaction.on_commit(wakeup.send)


def _waiting(target: ComputeTarget) -> QuerySet[Run]:
    arrival = Cast("pk", FloatField())
    return (
        Run.objects.filter(target=target, status=RunStatus.QUEUED)
        .select_related("team", "created_by", "target")
        .annotate(rank=Coalesce("queue_rank", arrival))
        .order_by("-priority", "rank", "pk")
    )
