"""Remembers what did not fit, so that a run that needs as much or more is not tried again."""

from dataclasses import dataclass, field
from math import inf

from runs.scheduling.requests import PendingRun
from runs.scheduling.resources import Resources

RequestSize = tuple[float, float, float, float, float]


@dataclass
class RejectionCache:
    """The smallest requests that were rejected. Valid while what is free only becomes less."""

    _smallest: list[RequestSize] = field(default_factory=list)
    _mixed: dict[tuple[Resources, ...], float] = field(default_factory=dict)

    def covers(self, run: PendingRun) -> bool:
        """Return whether a run needs as much as one that was refused, for as long or longer."""
        seconds = inf if run.seconds is None else run.seconds
        if len(run.batches) > 1 and self._mixed.get(run.processes, inf) <= seconds:
            return run.processes in self._mixed
        return any(self._holds(_needed(*batch, seconds)) for batch in run.batches)

    def note(self, run: PendingRun) -> None:
        seconds = inf if run.seconds is None else run.seconds
        if len(run.batches) > 1:
            self._mixed[run.processes] = min(self._mixed.get(run.processes, inf), seconds)
        else:
            self._add(_needed(*run.batches[0], seconds))

    def _holds(self, needed: RequestSize) -> bool:
        gpus, cpus, memory, count, seconds = needed
        return any(
            row[0] <= gpus
            and row[1] <= cpus
            and row[2] <= memory
            and row[3] <= count
            and row[4] <= seconds
            for row in self._smallest
        )

    def _add(self, needed: RequestSize) -> None:
        if not self._holds(needed):
            self._smallest = [
                row
                for row in self._smallest
                if not all(new <= old for new, old in zip(needed, row, strict=True))
            ]
            self._smallest.append(needed)


@dataclass
class BlockedRequests(RejectionCache):
    """Requests for which every node is blocked, however many processes need it."""

    def covers_all_processes(self, run: PendingRun) -> bool:
        return all(self._holds(_needed(share, [], 0.0)) for share, _ in run.batches)

    def note(self, run: PendingRun) -> None:
        for share, _ in run.batches:
            self._add(_needed(share, [], 0.0))


@dataclass
class TargetRejections:
    """What was rejected on one target.

    `to_start`: could not start now. `to_fit_now`: does not fit on what is free now, reservations
    aside. `to_fit_soon`: does not fit once the allocations that are ending are gone.
    `with_preemption`: does not fit even if all candidates are preempted.
    """

    to_start: RejectionCache = field(default_factory=RejectionCache)
    to_fit_now: RejectionCache = field(default_factory=RejectionCache)
    to_fit_soon: RejectionCache = field(default_factory=RejectionCache)
    with_preemption: RejectionCache = field(default_factory=RejectionCache)
    blocked: BlockedRequests = field(default_factory=BlockedRequests)


def _needed(share: Resources, members: list[int], seconds: float) -> RequestSize:
    return share.gpus, share.cpus, share.memory_bytes, len(members), seconds
