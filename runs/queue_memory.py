"""What a queue has refused already: whoever needs as much or more of it need not be tried again."""

from dataclasses import dataclass, field
from math import inf

from runs.queue_terms import Share, Waiting

Needed = tuple[float, float, float, float, float]


@dataclass
class Frontier:
    """The least that was refused. It holds while what there is only becomes less."""

    _least: list[Needed] = field(default_factory=list)
    _mixed: dict[tuple[Share, ...], float] = field(default_factory=dict)

    def covers(self, run: Waiting) -> bool:
        """Say whether a run needs as much as one that was refused, for as long or longer."""
        seconds = inf if run.seconds is None else run.seconds
        if len(run.batches) > 1 and self._mixed.get(run.processes, inf) <= seconds:
            return run.processes in self._mixed
        return any(self._holds(_needed(*batch, seconds)) for batch in run.batches)

    def note(self, run: Waiting) -> None:
        seconds = inf if run.seconds is None else run.seconds
        if len(run.batches) > 1:
            self._mixed[run.processes] = min(self._mixed.get(run.processes, inf), seconds)
        else:
            self._add(_needed(*run.batches[0], seconds))

    def _holds(self, needed: Needed) -> bool:
        gpus, cpus, memory, count, seconds = needed
        return any(
            row[0] <= gpus
            and row[1] <= cpus
            and row[2] <= memory
            and row[3] <= count
            and row[4] <= seconds
            for row in self._least
        )

    def _add(self, needed: Needed) -> None:
        if not self._holds(needed):
            self._least = [
                row
                for row in self._least
                if not all(new <= old for new, old in zip(needed, row, strict=True))
            ]
            self._least.append(needed)


@dataclass
class Closed(Frontier):
    """Needs whose every node is closed to those that come later, whatever their number."""

    def covers_all_of(self, run: Waiting) -> bool:
        return all(self._holds(_needed(share, [], 0.0)) for share, _ in run.batches)

    def note(self, run: Waiting) -> None:
        for share, _ in run.batches:
            self._add(_needed(share, [], 0.0))


@dataclass
class Refused:
    """What one target's runs were refused.

    To start `now`; to fit `ever` beside what is held; to fit `soon`, when those that are ending had
    left; to fit `even_then`, when all that may be sent back had left too.
    """

    now: Frontier = field(default_factory=Frontier)
    ever: Frontier = field(default_factory=Frontier)
    soon: Frontier = field(default_factory=Frontier)
    even_then: Frontier = field(default_factory=Frontier)
    closed: Closed = field(default_factory=Closed)


def _needed(share: Share, members: list[int], seconds: float) -> Needed:
    return share.gpus, share.cpus, share.memory_bytes, len(members), seconds
