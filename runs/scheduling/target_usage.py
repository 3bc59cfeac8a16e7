"""Who holds what of a compute target now, and how much was used by day, or by a team in a month."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from runs.models import Process, ProcessGroup, Run
from runs.scheduling.resources import Resources, total
from workspace.compute.base import Gpu, Node
from workspace.models import ComputeTarget, Team
from workspace.targets.selectors import targets_sharing_nodes_with

DAYS = 14
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class ResourceHolder:
    """A run or a replica of a service, with what it holds on one node."""

    team: Team
    node: str
    run: Run | None
    service: str
    cpus: float
    memory_bytes: int
    gpus: tuple[str, ...]
    processes: int
    since: datetime


@dataclass(frozen=True)
class GpuAllocation:
    gpu: Gpu
    holder: ResourceHolder | None


@dataclass(frozen=True)
class NodeUsage:
    """A node, and what the processes on it hold."""

    node: Node
    cpus: float
    memory_bytes: int
    gpus: Sequence[GpuAllocation]

    @property
    def free_cpus(self) -> float:
        return max(0.0, self.node.cpus - self.cpus)

    @property
    def free_memory_bytes(self) -> int:
        return max(0, self.node.memory_bytes - self.memory_bytes)

    @property
    def free_gpus(self) -> int:
        return sum(1 for held in self.gpus if held.holder is None)


@dataclass
class DailyUsage:
    """What was used of a target on one day: hours of CPUs and GPUs as configured."""

    day: date
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    process_hours: float = 0.0
    runs: set[int] = field(default_factory=set)


def holders_of(target: ComputeTarget, nodes: Sequence[Node]) -> list[ResourceHolder]:
    """Return who holds a part of the nodes that a target stands for, the oldest first."""
    only = nodes[0].name if len(nodes) == 1 else ""
    groups: dict[tuple[int, str], ProcessGroup] = {}
    held: dict[tuple[int, str], list[Resources]] = defaultdict(list)
    gpus: dict[tuple[int, str], list[str]] = defaultdict(list)
    for group in _groups_on_nodes_of(target):
        for process, resources in zip(group.processes.all(), held_by_processes(group), strict=True):
            key = group.pk, process.node or only
            groups[key] = group
            held[key].append(resources)
            gpus[key] += process.gpus
    services = _services_of(target)
    return [
        ResourceHolder(
            team=group.team,
            node=key[1],
            run=group.run,
            service=services.get(group.channel, ""),
            cpus=total(held[key]).cpus,
            memory_bytes=int(total(held[key]).memory_bytes),
            gpus=tuple(gpus[key]),
            processes=len(held[key]),
            since=group.created_at,
        )
        for key, group in groups.items()
    ]


def held_by_processes(group: ProcessGroup) -> list[Resources]:
    """Return what each process of a group holds: what the queue gave it, else what it states."""
    processes = group.processes.all()
    placement = group.run.placement if group.run else []
    if len(placement) == len(processes):
        return [held_at(place) for place in placement]
    return [
        Resources(process.cpus or 0.0, process.memory_bytes or 0, len(process.gpus), 1)
        for process in processes
    ]


def held_at(place: Mapping[str, Any]) -> Resources:
    """Return what a process holds by its placement, which said nothing of it in older versions."""
    return Resources(
        place.get("cpus", 0.0), place.get("memory_bytes", 0), len(place["gpus"]), processes=1
    )


def usage_of_nodes(nodes: Iterable[Node], holders: Iterable[ResourceHolder]) -> list[NodeUsage]:
    """Return for each node what is held on it, and by whom each GPU."""
    on: dict[str, list[ResourceHolder]] = defaultdict(list)
    of_gpu: dict[str, ResourceHolder] = {}
    for holder in holders:
        on[holder.node].append(holder)
        of_gpu.update(dict.fromkeys(holder.gpus, holder))
    return [
        NodeUsage(
            node,
            sum(holder.cpus for holder in on[node.name]),
            sum(holder.memory_bytes for holder in on[node.name]),
            [GpuAllocation(gpu, of_gpu.get(gpu.uuid)) for gpu in node.gpus],
        )
        for node in nodes
    ]


def usage_by_day(target: ComputeTarget, now: datetime, days: int = DAYS) -> list[DailyUsage]:
    """Return a target's usage on each of the last days in the current time zone, latest first."""
    today = timezone.localtime(now).date()
    wanted = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
    zone = timezone.get_current_timezone()
    edges = [datetime(day.year, day.month, day.day, tzinfo=zone) for day in wanted]
    edges.append(max(now, edges[-1] + timedelta(seconds=1)))
    by_day = [DailyUsage(day) for day in wanted]
    for process in _processes_between(Process.objects.filter(group__target=target), edges[0], now):
        for of_day, (first, last) in zip(by_day, pairwise(edges), strict=True):
            hours = process.hours_between(first, last)
            if not hours:
                continue
            of_day.process_hours += hours
            of_day.cpu_hours += hours * process.cpus
            of_day.gpu_hours += hours * process.gpus
            if process.run_id is not None:
                of_day.runs.add(process.run_id)
    return by_day[::-1]


def gpu_hours(target: ComputeTarget, team: Team, since: datetime, now: datetime) -> float:
    """Return the GPU-hours that a team has used of a target since a time."""
    of_team = Process.objects.filter(group__target=target, group__team=team).exclude(gpus=[])
    return sum(
        process.gpus * process.hours_between(since, now)
        for process in _processes_between(of_team, since, now)
    )


def month_of(time: datetime) -> datetime:
    """Return the start of the month of a time, in the current time zone."""
    return timezone.localtime(time).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class ProcessUsage:
    """When a process ran, and with how many CPUs and GPUs."""

    started: datetime
    ended: datetime
    cpus: float
    gpus: int
    run_id: int | None

    def hours_between(self, first: datetime, last: datetime) -> float:
        """Return the hours that it ran between two times."""
        return max((min(self.ended, last) - max(self.started, first)) / HOUR, 0.0)


def _processes_between(
    processes: QuerySet[Process], since: datetime, now: datetime
) -> Iterator[ProcessUsage]:
    """Return when those of the processes ran that ran at any time since a time."""
    ended_before = Q(exited_at__lt=since) | Q(exited_at=None, group__removed_at__lt=since)
    rows = (
        processes.filter(started_at__lt=now)
        .exclude(ended_before)
        .values_list(
            "started_at", "exited_at", "group__removed_at", "cpus", "gpus", "group__run_id"
        )
    )
    for started, exited, removed, cpus, gpus, run_id in rows:
        yield ProcessUsage(started or now, exited or removed or now, cpus or 0.0, len(gpus), run_id)


def _groups_on_nodes_of(target: ComputeTarget) -> QuerySet[ProcessGroup]:
    targets = [target.pk, *targets_sharing_nodes_with(target).values_list("pk", flat=True)]
    return (
        ProcessGroup.objects.filter(target__in=targets, removed_at=None)
        .select_related("team", "run__created_by", "run__team")
        .prefetch_related("processes")
        .order_by("pk")
    )


def _services_of(target: ComputeTarget) -> dict[str, str]:
    """Return the names of the services on a target's nodes by the channel of their replicas."""
    targets = [target, *targets_sharing_nodes_with(target)]
    return {
        f"service-{service.pk}": service.name
        for one in targets
        for service in one.services.filter(deleted_at=None)
    }
