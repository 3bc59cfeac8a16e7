"""What a process counts as that states no CPUs or no memory: a core, and a share of memory.

A gang that is larger than its idle nodes in this way counts as exactly as much as they have, so it
starts, and has them to itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from django.conf import settings

from runs.launch.cluster import PlannedProcess
from runs.scheduling.requests import PendingRun
from runs.scheduling.resources import NOTHING, Resources

CPUS_OF_A_PROGRAM = 1.0
HALVINGS = 20
Fits = Callable[[PendingRun], bool]


def assumed_needs_of(processes: Sequence[PlannedProcess]) -> tuple[Resources, ...]:
    """Return what processes count as in addition to what they state, nothing if all state all."""
    assumed = tuple(
        Resources(
            CPUS_OF_A_PROGRAM * process.programs if process.cpus is None else 0.0,
            settings.TRAINYARD_DEFAULT_MEMORY_BYTES * process.programs
            if process.memory_bytes is None
            else 0,
        )
        for process in processes
    )
    return assumed if any(need != NOTHING for need in assumed) else ()


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
