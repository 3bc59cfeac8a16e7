"""Reads what the scheduler decides on: nodes, allocations, limits, quotas and pending runs.

Targets of one pool stand for the same nodes: what is held through one is held for all of them.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import inf

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils import timezone

from runs.config import RunConfig
from runs.launch.cluster import PlannedProcess, processes_of
from runs.models import ProcessGroup, Run
from runs.scheduling.requests import (
    Allocation,
    PendingRun,
    ProcessAllocation,
    SchedulableNode,
    SchedulingLimits,
    TargetLimits,
    TeamQuota,
)
from runs.scheduling.resources import NOTHING, Resources
from runs.scheduling.target_usage import gpu_hours, held_at, held_by_processes, month_of
from runs.scheduling.wait_reasons import target_draining, target_paused
from runs.states import WITH_PROCESSES, RunStatus
from workspace.models import ComputeTarget, TargetGrant
from workspace.targets.selectors import targets_sharing_nodes_with
from workspace.targets.states import nodes_of

CPUS_OF_A_PROGRAM = 1.0


def system_reserved(target: ComputeTarget, pool: Iterable[ComputeTarget]) -> Resources:
    """Return what stays idle on each node for the runs of a target.

    Of the owning team's targets of a pool the largest amount counts; other teams' bind others.
    """
    own = [target, *(one for one in pool if one.team_id == target.team_id)]
    return Resources(max(one.idle_cpus for one in own), max(one.idle_memory_bytes for one in own))


def schedulable_nodes_of(
    target: ComputeTarget, *, only_healthy: bool = True, reserved: Resources | None = None
) -> list[SchedulableNode]:
    """Return the nodes of a target, less what is reserved on each: by default for its own runs.

    Raises BackendError.
    """
    if reserved is None:
        reserved = system_reserved(target, targets_sharing_nodes_with(target))
    return [
        SchedulableNode(
            node.name,
            max(node.cpus - reserved.cpus, 0.0),
            max(node.memory_bytes - int(reserved.memory_bytes), 0),
            tuple(gpu.uuid for gpu in sorted(node.gpus, key=lambda gpu: gpu.index)),
        )
        for node in nodes_of(target)
        if node.healthy or not only_healthy
    ]


def node_names_of(target: ComputeTarget) -> frozenset[str]:
    """Return the names of the nodes that a target may use; none if it may use all."""
    return frozenset(target.nodes if target.kind_info.has_many_nodes else ())


def limits_of(targets: Sequence[ComputeTarget]) -> SchedulingLimits:
    """Return how much of their nodes targets may use, and how much of the targets teams may."""
    grants = TargetGrant.objects.filter(target__in=targets).select_related("team", "target")
    now = timezone.now()
    return SchedulingLimits(
        {
            target.pk: TargetLimits(
                target.name, limit_of(target), node_names_of(target), _unavailable_reason(target)
            )
            for target in targets
        },
        {(grant.target_id, grant.team_id): _quota(grant, now) for grant in grants},
    )


def limit_of(target: ComputeTarget) -> Resources:
    return Resources(
        inf if target.max_cpus is None else target.max_cpus,
        inf if target.max_memory_bytes is None else target.max_memory_bytes,
        inf if target.max_gpus is None else target.max_gpus,
        target.max_processes,
    )


def _unavailable_reason(target: ComputeTarget) -> str:
    if target.is_paused:
        return target_paused(target.name)
    return target_draining(target.name) if target.is_draining else ""


def _quota(grant: TargetGrant, now: datetime) -> TeamQuota:
    used = 0.0
    if grant.gpu_hours_a_month is not None:
        used = gpu_hours(grant.target, grant.team, month_of(now), now)
    return TeamQuota(grant.team.name, grant.max_runs, grant.max_gpus, grant.gpu_hours_a_month, used)


def pending_run_of(run: Run) -> PendingRun:
    """Return a queued run as the scheduler sees it."""
    config = RunConfig.from_row(run.config)
    processes = processes_of(config, run.compute_target.kind)
    return PendingRun(
        run_id=run.pk,
        title=title_of(run),
        target_id=run.compute_target.pk,
        team_id=run.team_id,
        priority=run.priority,
        rank=rank_of(run),
        processes=tuple(resources_of(process) for process in processes),
        assumed=assumed_needs_of(processes),
        since=run.created_at.timestamp(),
        seconds=_max_seconds(config),
    )


def resources_of(process: PlannedProcess) -> Resources:
    """Return what a process states that it needs."""
    return Resources(process.cpus or 0.0, process.memory_bytes or 0, process.gpus, 1)


def assumed_needs_of(processes: Sequence[PlannedProcess]) -> tuple[Resources, ...]:
    """Return what processes count as in addition to what they state, nothing if all state all.

    That is a core and `TRAINYARD_DEFAULT_MEMORY_BYTES` of memory for each program.
    """
    assumed = tuple(
        Resources(
            CPUS_OF_A_PROGRAM * process.programs if process.cpus is None else 0.0,
            settings.TRAINYARD_DEFAULT_MEMORY_BYTES * process.programs
            if process.memory_bytes is None
            else 0,
        )
        for process in processes
    )
    return assumed if any(need != NOTHING for need in assumed) else ()


def rank_of(run: Run) -> float:
    """Return the order of a run among those of the same priority: the lower the sooner."""
    return run.pk if run.queue_rank is None else run.queue_rank


def title_of(run: Run) -> str:
    by = f" of {run.created_by.get_username()}" if run.created_by else ""
    return f"run {run.number}{by}"


def allocations_of(
    targets: Sequence[ComputeTarget], nodes: Sequence[SchedulableNode]
) -> list[Allocation]:
    """Return what process groups hold, and admitted runs that have no group yet."""
    groups = (
        ProcessGroup.objects.filter(target__in=targets, removed_at=None)
        .select_related("target", "run", "run__created_by")
        .prefetch_related("processes")
        .order_by("pk")
    )
    has_group = ProcessGroup.objects.filter(
        run=OuterRef("pk"), removed_at=None, created_at__gte=OuterRef("preparing_at")
    )
    admitted = (
        Run.objects.filter(~Exists(has_group), target__in=targets, status=RunStatus.PREPARING)
        .select_related("created_by", "target")
        .order_by("pk")
    )
    return [
        *(_allocation_of_group(group, nodes) for group in groups),
        *(_allocation_of_admitted(run, nodes) for run in admitted),
    ]


def _allocation_of_group(group: ProcessGroup, nodes: Sequence[SchedulableNode]) -> Allocation:
    run = group.run
    parts = [
        ProcessAllocation(_node_name(process.node, group.target, nodes), held, tuple(process.gpus))
        for process, held in zip(group.processes.all(), held_by_processes(group), strict=True)
    ]
    if run is None:
        return Allocation(f"service {group.label}", group.target_id, group.team_id, tuple(parts))
    is_of_attempt = run.preparing_at is not None and group.created_at >= run.preparing_at
    is_ending = bool(
        not is_of_attempt
        or run.status == RunStatus.FINALIZING
        or run.requeue_reason
        or run.cancel_requested_at
    )
    return _allocation(
        run,
        parts,
        target_id=group.target_id,
        team_id=group.team_id,
        since=run.preparing_at or group.created_at,
        ends_at=_latest_end(run),
        is_ending=is_ending,
        may_be_preempted=run.status in WITH_PROCESSES and not is_ending,
    )


def _allocation_of_admitted(run: Run, nodes: Sequence[SchedulableNode]) -> Allocation:
    parts = [
        ProcessAllocation(
            _node_name(place["node"], run.compute_target, nodes),
            held_at(place),
            tuple(place["gpus"]),
        )
        for place in run.placement
    ]
    return _allocation(
        run,
        parts,
        target_id=run.compute_target.pk,
        team_id=run.team_id,
        since=run.preparing_at,
        is_ending=bool(run.cancel_requested_at),
    )


def _allocation(
    run: Run,
    parts: Iterable[ProcessAllocation],
    *,
    target_id: int,
    team_id: int,
    since: datetime | None,
    is_ending: bool,
    ends_at: float | None = None,
    may_be_preempted: bool = False,
) -> Allocation:
    return Allocation(
        title=title_of(run),
        target_id=target_id,
        team_id=team_id,
        parts=tuple(parts),
        run_id=run.pk,
        priority=run.priority,
        rank=rank_of(run),
        since=since.timestamp() if since else inf,
        ends_at=ends_at,
        is_ending=is_ending,
        may_be_preempted=may_be_preempted,
    )


def _node_name(name: str, target: ComputeTarget, nodes: Sequence[SchedulableNode]) -> str:
    """Return the scheduler's name of a node: an engine alone is one, whatever targets call it."""
    is_alone = not target.kind_info.has_many_nodes and len(nodes) == 1
    return nodes[0].name if is_alone else name


def _latest_end(run: Run) -> float | None:
    config = RunConfig.from_row(run.config)
    if config.max_run_duration_seconds is None:
        return None
    seconds = config.max_run_duration_seconds + config.grace_seconds
    if run.running_at is not None:
        return run.running_at.timestamp() + seconds
    if run.starting_at is not None:
        return run.starting_at.timestamp() + config.start_timeout_seconds + seconds
    return None


def _max_seconds(config: RunConfig) -> float | None:
    """Return how long a run may take from its admission on, building its environment aside."""
    if config.max_run_duration_seconds is None:
        return None
    return config.start_timeout_seconds + config.max_run_duration_seconds + config.grace_seconds
