"""What fits on a compute target: its whole capacity, gangs that never fit, room for a replica."""

from collections.abc import Sequence
from contextlib import suppress
from math import inf

from runs.scheduling.inputs import allocations_of, limit_of, node_names_of, schedulable_nodes_of
from runs.scheduling.node_pool import NodePool
from runs.scheduling.requests import PendingRun, Placement, SchedulableNode
from runs.scheduling.resources import Resources, amount_text, resources_text, total
from workspace.compute.base import BackendError
from workspace.models import ComputeTarget
from workspace.targets.selectors import targets_sharing_nodes_with


def capacity_of(target: ComputeTarget) -> Resources:
    """Return all that a target may use, whether it is free or not. Raises BackendError."""
    return _capacity(_all_nodes(target), limit_of(target))


def shortages(
    target: ComputeTarget, processes: Sequence[Resources], thing: str = "process", s: str = "es"
) -> list[tuple[str, str]]:
    """Return what an idle target lacks for a gang, as names of resources and messages.

    If the target cannot be asked now, only its limits count.
    """
    need, has = total(processes), limit_of(target)
    nodes: list[SchedulableNode] = []
    with suppress(BackendError):
        nodes = _all_nodes(target)
        has = _capacity(nodes, has)
    is_one = len(processes) == 1
    gang = f"1 {thing}" if is_one else f"{len(processes)} {thing}{s}"
    short = need.exceeding(has)
    if short or not nodes:
        return [
            (
                name,
                f"{gang} {'needs' if is_one else 'need'} {amount_text(name, getattr(need, name))};"
                f" target {target.name} has {amount_text(name, getattr(has, name))}.",
            )
            for name in short
        ]
    pool = NodePool(nodes, [], 0.0)
    if pool.could_ever_start(_pending_run(target, processes), pool.nodes):
        return []
    largest = max(nodes, key=lambda node: (len(node.gpus), node.cpus))
    its_nodes = "node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    return [
        (
            "gpus" if need.gpus else "cpus" if need.cpus else "memory_bytes",
            f"{gang} {'does' if is_one else 'do'} not fit on the {its_nodes} of target"
            f" {target.name}. The largest, {largest.name}, has {resources_text(largest.capacity)}.",
        )
    ]


def place_for_service(target: ComputeTarget, need: Resources) -> Placement:
    """Choose a node and GPUs for a service's replica.

    Services do not queue. They may share CPUs and memory with runs, but no GPUs. Raises
    BackendError if too few GPUs are free.
    """
    nodes = schedulable_nodes_of(target)
    allocations = allocations_of([target, *targets_sharing_nodes_with(target)], nodes)
    for resources in (need, Resources(gpus=need.gpus, processes=1)):
        pool = NodePool(nodes, allocations, 0.0)
        usable = pool.named(node_names_of(target))
        placements = pool.start(_pending_run(target, [resources]), usable)
        if placements:
            return placements[0]
    free = sum(len(state.free_gpus) for state in usable.values())
    whole = sum(int(state.capacity.gpus) for state in usable.values())
    raise BackendError(
        f"Needs {amount_text('gpus', need.gpus)} on one node;"
        f" {amount_text('gpus', free, of=whole)} are free.",
        retryable=True,
    )


def _all_nodes(target: ComputeTarget) -> list[SchedulableNode]:
    """Return the nodes that a target may use, those that are down included."""
    names = node_names_of(target)
    nodes = schedulable_nodes_of(target, only_healthy=False)
    return [node for node in nodes if not names or node.name in names]


def _capacity(nodes: Sequence[SchedulableNode], limit: Resources) -> Resources:
    whole = total(node.capacity for node in nodes)
    return Resources(whole.cpus, whole.memory_bytes, whole.gpus, inf).capped_by(limit)


def _pending_run(target: ComputeTarget, processes: Sequence[Resources]) -> PendingRun:
    return PendingRun(0, "", target.pk, target.team_id, 0, 0.0, tuple(processes))
