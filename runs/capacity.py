"""What compute targets have, who holds it, and how much of it whom may use.

Targets of one pool stand for the same machines: what is held through one is held for all.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from math import inf

from django.db.models import Exists, OuterRef
from django.utils import timezone

from runs.cluster import PlannedProcess, processes_of
from runs.config import RunConfig
from runs.gpu_hours import gpu_hours, month_of
from runs.models import Process, ProcessGroup, Run
from runs.queue_floor import Floor
from runs.queue_terms import (
    Holding,
    Limits,
    Machine,
    Part,
    Place,
    Quota,
    Share,
    TargetTerms,
    Waiting,
    total,
)
from runs.states import WITH_PROCESSES, RunStatus
from workspace.compute.base import BackendError, Node
from workspace.models import ComputeTarget, TargetGrant, TargetKind
from workspace.selectors import sharers_of
from workspace.target_states import nodes_of


def share_of(process: PlannedProcess) -> Share:
    """Give what a process needs; one without stated needs takes what is left over by others."""
    return Share(process.cpus or 0.0, process.memory_bytes or 0, process.gpus, 1)


def capacity_of(target: ComputeTarget) -> Share:
    """Give all that a target may use, whether held or not. Raises BackendError."""
    names, most = _nodes(target), _most(target)
    machines = [
        one for one in _machines(target, nodes_of(target)) if not names or one.name in names
    ]
    return Share(
        min(sum(machine.cpus for machine in machines), most.cpus),
        min(sum(machine.memory_bytes for machine in machines), most.memory_bytes),
        min(sum(len(machine.gpus) for machine in machines), most.gpus),
        most.processes,
    )


def cannot_hold(
    target: ComputeTarget, processes: Sequence[Share], thing: str = "process", s: str = "es"
) -> list[tuple[str, str]]:
    """Say what a target could not hold of a gang if all of it were free, by resource.

    One that does not answer now may be able to.
    """
    need, has = total(processes), _most(target)
    machines: list[Machine] = []
    with suppress(BackendError):
        has, machines = capacity_of(target), _machines(target, nodes_of(target))
    count = len(processes)
    gang, needs, does = (
        (f"1 {thing}", "needs", "does") if count == 1 else (f"{count} {thing}{s}", "need", "do")
    )
    short = need.excess_over(has)
    if short or not machines:
        return [
            (name, f"{gang} {needs} {words} that target {target.name} has.")
            for name, words in short.items()
        ]
    floor = Floor(machines, [], 0.0)
    usable = floor.numbers(_nodes(target))
    if floor.is_possible(_as_one(target, processes), usable):
        return []
    most = max((machines[at] for at in usable), key=lambda one: (len(one.gpus), one.cpus))
    nodes = f"{len(usable)} node{'' if len(usable) == 1 else 's'}"
    return [
        (
            "gpus" if need.gpus else "cpus" if need.cpus else "memory_bytes",
            f"{gang} {does} not fit on the {nodes} of target {target.name}, each whole on one: the"
            f" largest, {most.name}, has {len(most.gpus)} GPUs, {most.cpus:g} CPUs and"
            f" {most.memory_bytes / 1e9:.1f} GB of memory.",
        )
    ]


def place_for_service(target: ComputeTarget, need: Share) -> Place:
    """Give a service's replica its node, where it fits if it does, and its GPUs.

    Services do not queue: cores and memory they may share with runs, GPUs never. Raises
    BackendError where too few are free.
    """
    targets = [target, *sharers_of(target)]
    machines = machines_of(target)
    held = holdings_of(targets, machines)
    only_gpus = Share(gpus=need.gpus, processes=1)
    for share in (need, only_gpus):
        floor = Floor(machines, held, 0.0)
        places = floor.start(_as_one(target, [share]), floor.numbers(_nodes(target)))
        if places:
            return places[0]
    free = sum(int(floor.free(number)[2]) for number in floor.numbers(_nodes(target)))
    raise BackendError(
        f"{need.gpus:g} GPUs are needed on one node and {free} are free just now.", retryable=True
    )


def machines_of(target: ComputeTarget) -> list[Machine]:
    """Give the nodes of a target that are up. Raises BackendError."""
    return _machines(target, (node for node in nodes_of(target) if node.healthy))


def _machines(target: ComputeTarget, nodes: Iterable[Node]) -> list[Machine]:
    """Give nodes less what stays idle, which is the most that any target on them leaves so."""
    targets = [target, *sharers_of(target)]
    idle_cpus = max(one.idle_cpus for one in targets)
    idle_memory = max(one.idle_memory_bytes for one in targets)
    return [
        Machine(
            node.name,
            max(node.cpus - idle_cpus, 0.0),
            max(node.memory_bytes - idle_memory, 0),
            tuple(gpu.uuid for gpu in sorted(node.gpus, key=lambda gpu: gpu.index)),
        )
        for node in nodes
    ]


def limits_of(targets: Sequence[ComputeTarget]) -> Limits:
    """Give how much of their machines targets may use, and teams of them."""
    grants = TargetGrant.objects.filter(target__in=targets).select_related("team", "target")
    now = timezone.now()
    return Limits(
        {
            target.pk: TargetTerms(target.name, _most(target), _nodes(target), _closed(target))
            for target in targets
        },
        {(grant.target_id, grant.team_id): _quota(grant, now) for grant in grants},
    )


def holdings_of(targets: Sequence[ComputeTarget], machines: Sequence[Machine]) -> list[Holding]:
    """Give what living groups hold of the machines, and admitted runs that have no group yet."""
    groups = (
        ProcessGroup.objects.filter(target__in=targets, removed_at=None)
        .select_related("target", "run", "run__created_by")
        .prefetch_related("processes")
    )
    found = [_held_by_group(group, machines) for group in groups]
    has_group = ProcessGroup.objects.filter(
        run=OuterRef("pk"), removed_at=None, created_at__gte=OuterRef("preparing_at")
    )
    admitted = Run.objects.filter(
        ~Exists(has_group), target__in=targets, status=RunStatus.PREPARING
    ).select_related("created_by", "target")
    return found + [_held_by_placement(run, machines) for run in admitted]


def waiting_of(run: Run) -> Waiting:
    """Give what the queue is told of a run."""
    config = RunConfig.from_row(run.config)
    return Waiting(
        run_id=run.pk,
        title=title_of(run),
        target_id=run.target_id,
        team_id=run.team_id,
        priority=run.priority,
        rank=rank_of(run),
        processes=tuple(share_of(process) for process in processes_of(config, run.target.kind)),
        since=run.created_at.timestamp(),
        seconds=_most_seconds(config),
    )


def rank_of(run: Run) -> float:
    """Give the place of a run among its equals in priority: the lower the sooner."""
    return run.pk if run.queue_rank is None else run.queue_rank


def title_of(run: Run) -> str:
    by = f" of {run.created_by.get_username()}" if run.created_by else ""
    return f"run {run.number}{by}"


def _held_by_group(group: ProcessGroup, machines: Sequence[Machine]) -> Holding:
    parts = tuple(_part(process, group.target, machines) for process in group.processes.all())
    run = group.run
    if run is None:
        return Holding(f"service {group.label}", group.target_id, group.team_id, parts)
    is_new = run.preparing_at is not None and group.created_at >= run.preparing_at
    is_ending = bool(
        not is_new
        or run.status == RunStatus.FINALIZING
        or run.requeue_because
        or run.cancel_requested_at
    )
    return Holding(
        title=title_of(run),
        target_id=group.target_id,
        team_id=group.team_id,
        parts=parts,
        run_id=run.pk,
        priority=run.priority,
        rank=rank_of(run),
        since=(run.preparing_at or group.created_at).timestamp(),
        ends_at=_latest_end(run),
        is_ending=is_ending,
        may_be_preempted=run.status in WITH_PROCESSES and not is_ending,
    )


def _held_by_placement(run: Run, machines: Sequence[Machine]) -> Holding:
    processes = processes_of(RunConfig.from_row(run.config), run.target.kind)
    return Holding(
        title=title_of(run),
        target_id=run.target_id,
        team_id=run.team_id,
        parts=tuple(
            Part(
                _node(place["node"], run.target, machines),
                share_of(process),
                tuple(place["gpus"]),
            )
            for process, place in zip(processes, run.placement, strict=True)
        ),
        run_id=run.pk,
        priority=run.priority,
        rank=rank_of(run),
        since=run.preparing_at.timestamp() if run.preparing_at else inf,
        is_ending=bool(run.cancel_requested_at),
    )


def _part(process: Process, target: ComputeTarget, machines: Sequence[Machine]) -> Part:
    gpus = tuple(process.gpus)
    share = Share(process.cpus or 0.0, process.memory_bytes or 0, len(gpus), 1)
    return Part(_node(process.node, target, machines), share, gpus)


def _node(name: str, target: ComputeTarget, machines: Sequence[Machine]) -> str:
    """Name a node as the queue does: an engine alone is one machine, whatever targets call it."""
    is_alone = target.kind != TargetKind.SWARM and len(machines) == 1
    return machines[0].name if is_alone else name


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


def _most_seconds(config: RunConfig) -> float | None:
    """Give how long a run may take from its admission on, but for making its environment."""
    if config.max_run_duration_seconds is None:
        return None
    return config.start_timeout_seconds + config.max_run_duration_seconds + config.grace_seconds


def _most(target: ComputeTarget) -> Share:
    return Share(
        inf if target.max_cpus is None else target.max_cpus,
        inf if target.max_memory_bytes is None else target.max_memory_bytes,
        inf if target.max_gpus is None else target.max_gpus,
        target.max_processes,
    )


def _nodes(target: ComputeTarget) -> frozenset[str]:
    """Give the nodes that a target may use, by name; none where it may use all."""
    return frozenset(target.nodes if target.kind == TargetKind.SWARM else ())


def _closed(target: ComputeTarget) -> str:
    if target.is_paused:
        return f"Target {target.name} is paused by an admin."
    if target.is_draining:
        return f"Target {target.name} is being drained: nothing new starts on it."
    return ""


def _quota(grant: TargetGrant, now: datetime) -> Quota:
    used = 0.0
    if grant.gpu_hours_a_month is not None:
        used = gpu_hours(grant.target, grant.team, month_of(now), now)
    return Quota(grant.team.name, grant.max_runs, grant.max_gpus, grant.gpu_hours_a_month, used)


def _as_one(target: ComputeTarget, processes: Sequence[Share]) -> Waiting:
    return Waiting(0, "", target.pk, target.team_id, 0, 0.0, tuple(processes))
