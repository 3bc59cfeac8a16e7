"""Make what the queue is told, with defaults that make sense."""

from typing import Any

from runs.queue import decide
from runs.queue_terms import (
    Decision,
    Holding,
    Limits,
    Machine,
    Part,
    Quota,
    Share,
    TargetTerms,
    Waiting,
)

NOON = 1_800_000_000.0 - 1_800_000_000 % 86_400 + 12 * 3600
HOUR = 3600.0


def machine(name: str = "a", cpus: float = 4, gb: int = 8, gpus: int = 2) -> Machine:
    return Machine(name, cpus, gb * 10**9, tuple(f"GPU-{name}-{index}" for index in range(gpus)))


def share(cpus: float = 0, gb: float = 0, gpus: int = 0) -> Share:
    return Share(cpus, gb * 10**9, gpus, 1)


def waiting(number: int, *, count: int = 1, **fields: Any) -> Waiting:
    """Make a run of `count` processes that need `cpus`, `gb` and `gpus` each."""
    need = share(**{name: fields.pop(name) for name in ("cpus", "gb", "gpus") if name in fields})
    defaults = {
        "title": f"run {number} of ana",
        "target_id": 1,
        "team_id": 1,
        "priority": 0,
        "rank": float(number),
        "processes": (need,) * count,
    }
    return Waiting(run_id=number, **{**defaults, **fields})


def holding(number: int, node: str = "a", **fields: Any) -> Holding:
    """Make a run of one process that holds `cpus`, `gb` and the GPUs numbered in `gpus`."""
    gpus = tuple(f"GPU-{node}-{index}" for index in fields.pop("gpus", ()))
    need = share(fields.pop("cpus", 0), fields.pop("gb", 0), len(gpus))
    defaults = {
        "title": f"run {number} of ana",
        "target_id": 1,
        "team_id": 1,
        "parts": (Part(node, need, gpus),),
        "since": float(number),
    }
    return Holding(run_id=number, **{**defaults, **fields})


def low(number: int, node: str = "a", **fields: Any) -> Holding:
    return holding(number, node, priority=-1, may_be_preempted=True, **fields)


def decided(
    runs: list[Waiting],
    held: list[Holding] | None = None,
    machines: list[Machine] | None = None,
    *,
    terms: TargetTerms | None = None,
    quota: Quota | None = None,
    now: float = NOON,
) -> Decision:
    targets = {target_id: terms or TargetTerms("gpu") for target_id in (1, 2)}
    limits = Limits(targets, {(1, 1): quota} if quota else {})
    return decide(runs, held or [], machines or [machine()], limits, now)
