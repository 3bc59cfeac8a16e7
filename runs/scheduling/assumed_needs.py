"""What a process counts as that states no CPUs or no memory. Pure functions.

A gang that is larger than its idle nodes in this way counts as exactly as much as they have, so it
starts, and has them to itself.
"""

from collections.abc import Callable
from dataclasses import replace

from runs.scheduling.requests import PendingRun

HALVINGS = 20
Fits = Callable[[PendingRun], bool]


def with_assumed_needs(run: PendingRun, fits: Fits) -> PendingRun:
    """Return a run that needs what is assumed for it too, as far as that fits when all is idle.

    One that does not even fit with what it states is returned as it is.
    """
    stated = replace(run, assumed=())
    if not run.assumed or not fits(stated):
        return stated
    grown = run
    for resource in ("cpus", "memory_bytes"):
        grown = _with_assumed(grown, resource, fits)
    return grown


def _with_assumed(run: PendingRun, resource: str, fits: Fits) -> PendingRun:
    """Add the largest part of what is assumed of a resource with which the run fits."""
    whole = _with_part(run, resource, 1.0)
    if whole == run or fits(whole):
        return whole
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(_with_part(run, resource, middle)) else (low, middle)
    return _with_part(run, resource, low)


def _with_part(run: PendingRun, resource: str, part: float) -> PendingRun:
    processes = tuple(
        replace(stated, **{resource: getattr(stated, resource) + part * getattr(more, resource)})
        for stated, more in zip(run.processes, run.assumed, strict=True)
    )
    return replace(run, processes=processes)
