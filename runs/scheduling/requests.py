"""Input and output of the scheduler as plain data. Times are seconds since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from runs.scheduling.resources import NOTHING, UNLIMITED, Resources, total


@dataclass(frozen=True)
class SchedulableNode:
    """A node that is up: what it has, and the uuids of its GPUs in order of their index."""

    name: str
    cpus: float
    memory_bytes: int
    gpus: tuple[str, ...] = ()

    @property
    def capacity(self) -> Resources:
        return Resources(self.cpus, self.memory_bytes, len(self.gpus), inf)


@dataclass(frozen=True)
class Placement:
    """Where one process goes: its node, the GPUs there that it alone uses, and what it holds."""

    node: str
    gpus: tuple[str, ...] = ()
    cpus: float = 0.0
    memory_bytes: float = 0


@dataclass(frozen=True)
class PendingRun:
    """A queued run and what each of its processes needs.

    Runs of the same priority are ordered by `rank`. The run is in the queue `since` a time. Once
    admitted it holds its nodes for at most `seconds`, or without a limit if that is None. It leaves
    `leaves_idle` free on each of them. `assumed` is what the processes count as in addition, where
    they state nothing.
    """

    run_id: int
    title: str
    target_id: int
    team_id: int
    priority: int
    rank: float
    processes: tuple[Resources, ...]
    since: float = 0.0
    seconds: float | None = None
    leaves_idle: Resources = NOTHING
    assumed: tuple[Resources, ...] = ()

    @cached_property
    def need(self) -> Resources:
        return total(self.processes)

    @cached_property
    def batches(self) -> list[tuple[Resources, list[int]]]:
        """Group the indexes of the processes by what they need, the largest need first."""
        batches: dict[Resources, list[int]] = {}
        for index, need in enumerate(self.processes):
            batches.setdefault(need, []).append(index)
        return sorted(
            batches.items(),
            key=lambda batch: (batch[0].gpus, batch[0].cpus, batch[0].memory_bytes),
            reverse=True,
        )


@dataclass(frozen=True)
class ProcessAllocation:
    """What one process holds on a node."""

    node: str
    resources: Resources
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Allocation:
    """What a run or a service holds, until `ends_at` at the latest (None if the end is unknown).

    One that `is_ending` is being stopped and releases its resources soon. Only runs have a
    `run_id`, a priority and a rank. A run that `may_be_preempted` can go back to the queue.
    """

    title: str
    target_id: int
    team_id: int
    parts: tuple[ProcessAllocation, ...]
    run_id: int | None = None
    priority: int = 0
    rank: float = 0.0
    since: float = 0.0
    ends_at: float | None = None
    is_ending: bool = False
    may_be_preempted: bool = False

    @cached_property
    def resources(self) -> Resources:
        return total(part.resources for part in self.parts)


@dataclass(frozen=True)
class TargetLimits:
    """How much of its nodes one target may use: `nodes` by name, all of them if empty.

    `unavailable_reason` is why no run may start on it now, empty if runs may start.
    """

    name: str
    limit: Resources = UNLIMITED
    nodes: frozenset[str] = frozenset()
    unavailable_reason: str = ""


@dataclass(frozen=True)
class TeamQuota:
    """How much of a target one team may hold at a time, and its GPU-hours this month."""

    team: str
    max_runs: int | None = None
    max_gpus: int | None = None
    gpu_hours: float | None = None
    gpu_hours_used: float = 0.0

    @property
    def is_spent(self) -> bool:
        return self.gpu_hours is not None and self.gpu_hours_used >= self.gpu_hours

    @property
    def limit(self) -> Resources:
        return Resources(
            inf,
            inf,
            inf if self.max_gpus is None else self.max_gpus,
            inf if self.max_runs is None else self.max_runs,
        )


@dataclass(frozen=True)
class SchedulingLimits:
    """Limits by target, and quotas by target and team."""

    targets: Mapping[int, TargetLimits]
    quotas: Mapping[tuple[int, int], TeamQuota] = field(default_factory=dict)


@dataclass(frozen=True)
class SchedulingDecision:
    """Which runs start and where, which run is preempted for which other, and why the rest waits.

    `latest_starts` has the runs with a reservation and when they start at the latest: infinity
    where that depends on runs whose end is unknown.
    """

    start: Mapping[int, tuple[Placement, ...]]
    preempt: Mapping[int, int]
    wait_reasons: Mapping[int, str]
    latest_starts: Mapping[int, float]
