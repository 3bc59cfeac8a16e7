"""Amounts of CPUs, memory, GPUs and processes, and how they are worded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

ROUNDING = 1e-6
RESOURCE_NAMES = ("gpus", "cpus", "memory_bytes", "processes")
UNITS = {"gpus": ("GPU", "GPUs"), "cpus": ("CPU", "CPUs"), "processes": ("process", "processes")}


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process needs, an allocation holds, a node has or a limit allows."""

    cpus: float = 0.0
    memory_bytes: float = 0
    gpus: float = 0
    processes: float = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            self.cpus + other.cpus,
            self.memory_bytes + other.memory_bytes,
            self.gpus + other.gpus,
            self.processes + other.processes,
        )

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources(
            self.cpus - other.cpus,
            self.memory_bytes - other.memory_bytes,
            self.gpus - other.gpus,
            self.processes - other.processes,
        )

    def capped_by(self, limit: "Resources") -> "Resources":
        """Return the lesser of both amounts, for each resource."""
        return Resources(
            min(self.cpus, limit.cpus),
            min(self.memory_bytes, limit.memory_bytes),
            min(self.gpus, limit.gpus),
            min(self.processes, limit.processes),
        )

    def fits(self, available: "Resources") -> bool:
        """Return whether this fits; none of a resource fits even where it is overcommitted."""
        return (
            (not self.gpus or self.gpus <= available.gpus)
            and (not self.cpus or self.cpus <= available.cpus + ROUNDING)
            and (not self.memory_bytes or self.memory_bytes <= available.memory_bytes)
            and (not self.processes or self.processes <= available.processes)
        )

    def exceeding(self, available: "Resources") -> list[str]:
        """Return the names of the resources of which this is more than is available."""
        return [
            name
            for name in RESOURCE_NAMES
            if getattr(self, name) > getattr(available, name) + ROUNDING
        ]


NOTHING = Resources()
UNLIMITED = Resources(inf, inf, inf, inf)


def total(amounts: Iterable[Resources]) -> Resources:
    return sum(amounts, Resources())


def amount_text(
    resource: str, amount: float, *, of: float | None = None, with_unit: bool = True
) -> str:
    """Word an amount of a resource: `2 GPUs`, `3 of 8 GPUs` of a whole, `2` without its unit."""
    scale = 1e9 if resource == "memory_bytes" else 1
    text = _number(amount / scale) + ("" if of is None else f" of {_number(of / scale)}")
    if resource == "memory_bytes":
        return f"{text} GB memory" if with_unit else f"{text} GB"
    one, many = UNITS[resource]
    unit = one if round(of or amount, 2) == 1 else many
    return f"{text} {unit}" if with_unit else text


def resources_text(resources: Resources) -> str:
    """Word amounts of GPUs, CPUs and memory: `2 GPUs, 4 CPUs and 8 GB memory`; empty if none."""
    return listed(
        amount_text(name, getattr(resources, name))
        for name in ("gpus", "cpus", "memory_bytes")
        if getattr(resources, name)
    )


def listed(parts: Iterable[str]) -> str:
    """Join parts as in English: `a, b and c`."""
    every: Sequence[str] = list(parts)
    if len(every) < 2:
        return "".join(every)
    return f"{', '.join(every[:-1])} and {every[-1]}"


def _number(amount: float) -> str:
    return f"{amount:.2f}".rstrip("0").rstrip(".")
