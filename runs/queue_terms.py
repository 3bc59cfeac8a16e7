"""What the queue is told and what it answers, as plain data. Times are seconds since the epoch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Share:
    """An amount of a target: cores, bytes of memory, GPUs and processes."""

    cpus: float = 0.0
    memory_bytes: float = 0
    gpus: float = 0
    processes: float = 0

    def __add__(self, other: "Share") -> "Share":
        return Share(
            self.cpus + other.cpus,
            self.memory_bytes + other.memory_bytes,
            self.gpus + other.gpus,
            self.processes + other.processes,
        )

    def __sub__(self, other: "Share") -> "Share":
        return Share(
            self.cpus - other.cpus,
            self.memory_bytes - other.memory_bytes,
            self.gpus - other.gpus,
            self.processes - other.processes,
        )

    def fits(self, capacity: "Share") -> bool:
        return (
            self.cpus <= capacity.cpus + ROUNDING
            and self.memory_bytes <= capacity.memory_bytes
            and self.gpus <= capacity.gpus
            and self.processes <= capacity.processes
        )

    def excess_over(self, capacity: "Share") -> dict[str, str]:
        """Say for each resource that is short what is needed and what there is."""
        short = {}
        if self.gpus > capacity.gpus:
            short["gpus"] = f"{self.gpus:g} GPUs, of {capacity.gpus:g}"
        if self.cpus > capacity.cpus + ROUNDING:
            short["cpus"] = f"{self.cpus:g} CPUs, of {capacity.cpus:g}"
        if self.memory_bytes > capacity.memory_bytes:
            needed, there = self.memory_bytes / 1e9, capacity.memory_bytes / 1e9
            short["memory_bytes"] = f"{needed:.1f} GB of memory, of {there:.1f}"
        if self.processes > capacity.processes:
            short["processes"] = f"{self.processes:g} processes, of {capacity.processes:g}"
        return short


UNLIMITED = Share(inf, inf, inf, inf)


def total(shares: Iterable[Share]) -> Share:
    return sum(shares, Share())


@dataclass(frozen=True)
class Machine:
    """A node that is up: what it has, and the uuids of its GPUs in order of their index."""

    name: str
    cpus: float
    memory_bytes: int
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where one process goes: its node, and the GPUs there that are its own."""

    node: str
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """A queued run and what each of its processes needs, in the order of its processes.

    `rank` orders runs of one priority; it waits `since`. `seconds` is how long it holds its nodes
    at most, once it is admitted; None where nothing limits it.
    """

    run_id: int
    title: str
    target_id: int
    team_id: int
    priority: int
    rank: float
    processes: tuple[Share, ...]
    since: float = 0.0
    seconds: float | None = None

    @cached_property
    def need(self) -> Share:
        return total(self.processes)

    @cached_property
    def batches(self) -> list[tuple[Share, list[int]]]:
        """Give which of its processes need the same, those that need the most first."""
        batches: dict[Share, list[int]] = {}
        for number, share in enumerate(self.processes):
            batches.setdefault(share, []).append(number)
        return sorted(
            batches.items(),
            key=lambda batch: (batch[0].gpus, batch[0].cpus, batch[0].memory_bytes),
            reverse=True,
        )


@dataclass(frozen=True)
class Part:
    """What one process holds on its node."""

    node: str
    share: Share
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Holding:
    """What a run or a service holds until `ends_at` (at the latest; None where nobody knows).

    One that `is_ending` has been told to end and is about to leave. Only runs have a `run_id`, a
    priority and a rank, and only those that may be sent back to the queue `may_be_preempted`.
    """

    title: str
    target_id: int
    team_id: int
    parts: tuple[Part, ...]
    run_id: int | None = None
    priority: int = 0
    rank: float = 0.0
    since: float = 0.0
    ends_at: float | None = None
    is_ending: bool = False
    may_be_preempted: bool = False

    @cached_property
    def share(self) -> Share:
        return total(part.share for part in self.parts)


@dataclass(frozen=True)
class TargetTerms:
    """How much of the machines one target may use: `nodes` by name, all of them where empty.

    `closed` says why nothing starts on it just now.
    """

    name: str
    most: Share = UNLIMITED
    nodes: frozenset[str] = frozenset()
    closed: str = ""


@dataclass(frozen=True)
class Quota:
    """How much of a target one team may hold at once, and its GPU-hours of this month."""

    team: str
    max_runs: int | None = None
    max_gpus: int | None = None
    gpu_hours: float | None = None
    gpu_hours_used: float = 0.0

    @property
    def is_spent(self) -> bool:
        return self.gpu_hours is not None and self.gpu_hours_used >= self.gpu_hours

    @property
    def most(self) -> Share:
        return Share(
            inf,
            inf,
            inf if self.max_gpus is None else self.max_gpus,
            inf if self.max_runs is None else self.max_runs,
        )


@dataclass(frozen=True)
class Limits:
    """Terms by target, quotas by target and team."""

    targets: Mapping[int, TargetTerms]
    quotas: Mapping[tuple[int, int], Quota] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """Which runs start and where, which go back to the queue for which other, why the rest waits.

    `promised` holds, for runs whose nodes are kept free for them, when they start at the latest:
    infinity where that hangs on runs of which nobody knows the end.
    """

    start: Mapping[int, tuple[Place, ...]]
    preempt: Mapping[int, int]
    because: Mapping[int, str]
    promised: Mapping[int, float]
