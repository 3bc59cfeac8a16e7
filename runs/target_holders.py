"""Who holds what of a compute target now, and how much of it was used day by day."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise

from django.db.models import Q, QuerySet
from django.utils import timezone

from runs.models import Process, Run
from workspace.compute.base import Gpu, Node
from workspace.models import ComputeTarget, Team
from workspace.selectors import sharers_of

DAYS = 14
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Holder:
    """A run, or a replica of a service, with what it holds on one node."""

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
class HeldGpu:
    gpu: Gpu
    holder: Holder | None


@dataclass(frozen=True)
class NodeUse:
    """A node, with what of it is asked for by what runs there."""

    node: Node
    cpus: float
    memory_bytes: int
    gpus: Sequence[HeldGpu]

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
class DayOfUse:
    """What ran on a target on one day: hours of cores and GPUs, as they were asked for."""

    day: date
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    process_hours: float = 0.0
    runs: set[int] = field(default_factory=set)


def holders_of(target: ComputeTarget, nodes: Sequence[Node]) -> list[Holder]:
    """Give who holds a part of the machines that a target stands for, the longest there first."""
    only = nodes[0].name if len(nodes) == 1 else ""
    held: dict[tuple[int, str], list[Process]] = defaultdict(list)
    for process in _on_machines_of(target).filter(group__removed_at=None).order_by("pk"):
        held[process.group_id, process.node or only].append(process)
    services = _services_of(target)
    return [
        Holder(
            team=processes[0].group.team,
            node=node,
            run=processes[0].group.run,
            service=services.get(processes[0].group.channel, ""),
            cpus=sum(process.cpus or 0.0 for process in processes),
            memory_bytes=sum(process.memory_bytes or 0 for process in processes),
            gpus=tuple(gpu for process in processes for gpu in process.gpus),
            processes=len(processes),
            since=processes[0].group.created_at,
        )
        for (_, node), processes in held.items()
    ]


def use_of_nodes(nodes: Iterable[Node], holders: Iterable[Holder]) -> list[NodeUse]:
    """Put what is held beside what each node has."""
    on: dict[str, list[Holder]] = defaultdict(list)
    of_gpu: dict[str, Holder] = {}
    for holder in holders:
        on[holder.node].append(holder)
        of_gpu.update(dict.fromkeys(holder.gpus, holder))
    return [
        NodeUse(
            node,
            sum(holder.cpus for holder in on[node.name]),
            sum(holder.memory_bytes for holder in on[node.name]),
            [HeldGpu(gpu, of_gpu.get(gpu.uuid)) for gpu in node.gpus],
        )
        for node in nodes
    ]


def use_by_day(target: ComputeTarget, now: datetime, days: int = DAYS) -> list[DayOfUse]:
    """Give the use of a target on each of the last days, in the current time zone, latest first."""
    today = timezone.localtime(now).date()
    wanted = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
    zone = timezone.get_current_timezone()
    edges = [datetime(day.year, day.month, day.day, tzinfo=zone) for day in wanted]
    edges.append(max(now, edges[-1] + timedelta(seconds=1)))
    use = [DayOfUse(day) for day in wanted]
    ran = (
        Process.objects.filter(group__target=target, started_at__lt=now)
        .filter(Q(exited_at=None) | Q(exited_at__gt=edges[0]))
        .values_list(
            "started_at", "exited_at", "group__removed_at", "cpus", "gpus", "group__run_id"
        )
    )
    for started, exited, removed, cpus, gpus, run in ran:
        began, ended = started or now, exited or removed or now
        for of_day, (first, last) in zip(use, pairwise(edges), strict=True):
            hours = (min(ended, last) - max(began, first)) / HOUR
            if hours <= 0:
                continue
            of_day.process_hours += hours
            of_day.cpu_hours += hours * (cpus or 0.0)
            of_day.gpu_hours += hours * len(gpus)
            if run is not None:
                of_day.runs.add(run)
    return use[::-1]


def _on_machines_of(target: ComputeTarget) -> QuerySet[Process]:
    targets = [target.pk, *sharers_of(target).values_list("pk", flat=True)]
    return Process.objects.filter(group__target__in=targets).select_related(
        "group__team", "group__run__created_by", "group__run__team"
    )


def _services_of(target: ComputeTarget) -> dict[str, str]:
    """Name the services on the machines of a target by the channel of their replicas."""
    targets = [target, *sharers_of(target)]
    return {
        f"service-{service.pk}": service.name
        for one in targets
        for service in one.services.filter(deleted_at=None)
    }
