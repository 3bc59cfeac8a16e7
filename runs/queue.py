"""Who may start now: gangs whole or not at all, by priority, then first come. Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """An amount of a target: cores, bytes of memory, GPUs and processes."""

    cpus: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0
    processes: int = 0

    def __add__(self, other: "Share") -> "Share":
        return Share(
            self.cpus + other.cpus,
            self.memory_bytes + other.memory_bytes,
            self.gpus + other.gpus,
            self.processes + other.processes,
        )

    def fits(self, capacity: "Share") -> bool:
        return not self.excess_over(capacity)

    def excess_over(self, capacity: "Share") -> list[str]:
        """Say for each resource that is short what is needed and what there is."""
        sentences = []
        if self.cpus > capacity.cpus + 1e-9:
            sentences.append(f"{self.cpus:g} CPUs, of {capacity.cpus:g}")
        if self.memory_bytes > capacity.memory_bytes:
            sentences.append(
                f"{self.memory_bytes / 1e9:.1f} GB of memory, of {capacity.memory_bytes / 1e9:.1f}"
            )
        if self.gpus > capacity.gpus:
            sentences.append(f"{self.gpus} GPUs, of {capacity.gpus}")
        if self.processes > capacity.processes:
            sentences.append(f"{self.processes} processes, of {capacity.processes}")
        return sentences


@dataclass(frozen=True)
class Waiting:
    """A queued run and what all its processes need together."""

    run_id: int
    number: int
    priority: int
    need: Share


def total(shares: Iterable[Share]) -> Share:
    return sum(shares, Share())


def admit(waiting: Sequence[Waiting], held: Share, capacity: Share) -> dict[int, str]:
    """Decide for every waiting run: an empty text starts it, any other says why it waits.

    Runs start by priority, then in order of arrival. Behind one that has to wait, a later run
    starts only if it could still run beside all those it passes once the target is empty, so that
    it delays none of them.
    """
    decisions: dict[int, str] = {}
    passed = Share()
    first_blocked: Waiting | None = None
    for run in sorted(waiting, key=lambda run: (-run.priority, run.run_id)):
        short = (held + run.need).excess_over(capacity)
        if short:
            first_blocked = first_blocked or run
            passed += run.need
            decisions[run.run_id] = (
                f"Needs {_needs(run.need)}; with what is running that makes {'; '.join(short)}."
            )
        elif first_blocked and not (passed + run.need).fits(capacity):
            passed += run.need
            decisions[run.run_id] = f"Waits behind run {first_blocked.number}, which came first."
        else:
            held += run.need
            if first_blocked:
                passed += run.need
            decisions[run.run_id] = ""
    return decisions


def _needs(share: Share) -> str:
    parts = [f"{share.processes} process{'es' if share.processes != 1 else ''}"]
    if share.cpus:
        parts.append(f"{share.cpus:g} CPUs")
    if share.memory_bytes:
        parts.append(f"{share.memory_bytes / 1e9:.1f} GB")
    if share.gpus:
        parts.append(f"{share.gpus} GPUs")
    return ", ".join(parts)
