"""Builders of scheduler input, with defaults."""

from typing import Any

from runs.scheduling.queue import decide
from runs.scheduling.requests import (
    Allocation,
    PendingRun,
    ProcessAllocation,
    SchedulableNode,
    SchedulingDecision,
    SchedulingLimits,
    TargetLimits,
    TeamQuota,
)
from runs.scheduling.resources import Resources

NOON = 1_800_000_000.0 - 1_800_000_000 % 86_400 + 12 * 3600
HOUR = 3600.0


def node(name: str = "a", cpus: float = 4, gb: int = 8, gpus: int = 2) -> SchedulableNode:
    return SchedulableNode(
        name, cpus, gb * 10**9, tuple(f"GPU-{name}-{index}" for index in range(gpus))
    )


def share(cpus: float = 0, gb: float = 0, gpus: int = 0) -> Resources:
    return Resources(cpus, gb * 10**9, gpus, 1)


def waiting(number: int, *, count: int = 1, **fields: Any) -> PendingRun:
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
    return PendingRun(run_id=number, **{**defaults, **fields})


def holding(number: int, on: str = "a", **fields: Any) -> Allocation:
    """Make a run of one process that holds `cpus`, `gb` and the GPUs numbered in `gpus`."""
    gpus = tuple(f"GPU-{on}-{index}" for index in fields.pop("gpus", ()))
    need = share(fields.pop("cpus", 0), fields.pop("gb", 0), len(gpus))
    defaults = {
        "title": f"run {number} of ana",
        "target_id": 1,
        "team_id": 1,
        "parts": (ProcessAllocation(on, need, gpus),),
        "since": float(number),
    }
    return Allocation(run_id=number, **{**defaults, **fields})


def low(number: int, on: str = "a", **fields: Any) -> Allocation:
    return holding(number, on, priority=-1, may_be_preempted=True, **fields)


def decided(
    runs: list[PendingRun],
    allocations: list[Allocation] | None = None,
    nodes: list[SchedulableNode] | None = None,
    *,
    terms: TargetLimits | None = None,
    quota: TeamQuota | None = None,
    now: float = NOON,
) -> SchedulingDecision:
    targets = {target_id: terms or TargetLimits("gpu") for target_id in (1, 2)}
    limits = SchedulingLimits(targets, {(1, 1): quota} if quota else {})
    return decide(runs, allocations or [], nodes or [node()], limits, now)
