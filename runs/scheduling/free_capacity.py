"""What is free of several compute targets now, with as few queries for many as for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from django.db.models import Q

from runs.models import ProcessGroup
from runs.scheduling.resources import Resources, total
from runs.scheduling.target_usage import held_by_processes
from workspace.compute.registry import KINDS
from workspace.models import ComputeTarget
from workspace.targets.selectors import share_nodes
from workspace.targets.states import TargetStatus


@dataclass(frozen=True)
class FreeCapacity:
    """What is free of a target, of the whole that it may give to runs and services."""

    status: TargetStatus
    free: Resources
    whole: Resources


def free_capacities(statuses: Sequence[TargetStatus]) -> list[FreeCapacity]:
    """Return what is free of each target: of its limits, and of the nodes that others share."""
    held = _held_by_target([status.target for status in statuses])
    return [_free_capacity(status, held) for status in statuses]


def _free_capacity(
    status: TargetStatus, held: Sequence[tuple[ComputeTarget, Resources]]
) -> FreeCapacity:
    target = status.target
    nodes = total(
        Resources(
            max(node.cpus - target.idle_cpus, 0.0),
            max(node.memory_bytes - target.idle_memory_bytes, 0),
            len(node.gpus),
        )
        for node in status.nodes
        if node.healthy
    )
    limit = Resources(
        inf if target.max_cpus is None else target.max_cpus,
        inf if target.max_memory_bytes is None else target.max_memory_bytes,
        inf if target.max_gpus is None else target.max_gpus,
        inf,
    )
    own = total(one for holder, one in held if holder == target)
    others = total(one for holder, one in held if share_nodes(holder, target))
    left = (nodes - own - others).capped_by(limit - own)
    free = Resources(max(left.cpus, 0.0), max(left.memory_bytes, 0), max(left.gpus, 0))
    return FreeCapacity(status, free, nodes.capped_by(limit))


def _held_by_target(
    targets: Sequence[ComputeTarget],
) -> list[tuple[ComputeTarget, Resources]]:
    """Return what each group on the nodes of these targets holds, with the group's target."""
    on_nodes = Q(target__in=targets) | Q(target__pool__in={t.pool for t in targets if t.pool})
    if any(target.kind_info.is_this_machine for target in targets):
        on_nodes |= Q(target__kind__in=[k for k, info in KINDS.items() if info.is_this_machine])
    groups = (
        ProcessGroup.objects.filter(on_nodes, removed_at=None)
        .select_related("target", "run")
        .prefetch_related("processes")
    )
    return [(group.target, total(held_by_processes(group))) for group in groups]
