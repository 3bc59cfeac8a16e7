"""Who may start now, and where: gangs whole or not at all, nobody delayed by those who came later.

`decide` is a pure function. Runs are taken by priority, then in order of arrival. For one that has
to wait, nodes are kept from the time on when they are free at the latest (`queue_floor`). A later
run starts only where it leaves before that time or fits beside all that is kept, so that nobody's
time moves back. Runs below priority 0 go back to the queue, the newest first and no more of them
than needed, for a run of priority 0 or more that starts in their place.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from runs.queue_floor import Floor, Room
from runs.queue_memory import Refused
from runs.queue_terms import (
    Decision,
    Holding,
    Limits,
    Machine,
    Place,
    Share,
    Waiting,
    total,
)
from runs.queue_words import Words

MOST_KEPT = 16
NOTHING = Share()


@dataclass
class Allowance:
    """How much may be held under one limit, and what those who wait for it need.

    `used` counts those that wait for nodes only: what they wait for is theirs. Behind one that
    waits for the limit itself, others must fit beside all those they pass.
    """

    most: Share
    used: Share = field(default_factory=Share)
    leaving: Share = field(default_factory=Share)
    passed: Share | None = None

    def is_full_for(self, need: Share) -> bool:
        return not (self.used + need).fits(self.most)

    def stays_full_for(self, need: Share, without: Share = NOTHING) -> bool:
        """Say whether there is no room even when these and those that are ending have left."""
        if self.passed is not None and not (self.passed + need).fits(self.most):
            return True
        return not (self.used - self.leaving - without + need).fits(self.most)

    def take(self, need: Share) -> None:
        self.used += need
        if self.passed is not None:
            self.passed += need

    def wait(self, need: Share) -> None:
        self.passed = (self.passed or Share()) + need


def decide(
    waiting: Sequence[Waiting],
    held: Sequence[Holding],
    machines: Sequence[Machine],
    limits: Limits,
    now: float,
) -> Decision:
    """Decide for every waiting run of one pool of machines whether it starts, or why it waits."""
    queue = _Queue(held, machines, limits, now)
    for run in sorted(waiting, key=lambda run: (-run.priority, run.rank, run.run_id)):
        queue.take(run)
    return queue.decision()


class _Queue:
    def __init__(
        self, held: Sequence[Holding], machines: Sequence[Machine], limits: Limits, now: float
    ) -> None:
        self._limits = limits
        self._floor = Floor(machines, held, now)
        self._words = Words(self._floor, held, limits)
        self._start: dict[int, tuple[Place, ...]] = {}
        self._promised: dict[int, float] = {}
        self._because: dict[int, str] = {}
        self._preempt: dict[int, int] = {}
        self._victims = sorted(
            (one for one in held if one.may_be_preempted and one.priority < 0),
            key=lambda one: (-one.since, -(one.run_id or 0)),
        )
        self._freed: dict[int, Room] | None = None
        self._refused: dict[int, Refused] = {}
        self._possible: dict[int, dict[tuple[Share, ...], bool]] = {}
        self._nodes = {pk: self._floor.numbers(terms.nodes) for pk, terms in limits.targets.items()}
        self._targets = {pk: Allowance(terms.most) for pk, terms in limits.targets.items()}
        self._teams = {key: Allowance(quota.most) for key, quota in limits.quotas.items()}
        self._freed_by = {id(one): self._allowances(one) for one in self._victims}
        for holding in held:
            for allowance, share in self._allowances(holding):
                allowance.used += share
                if holding.is_ending:
                    allowance.leaving += share

    def decision(self) -> Decision:
        self._because |= self._words.told(self._promised)
        return Decision(self._start, self._preempt, self._because, self._promised)

    def take(self, run: Waiting) -> None:
        """Start a run, or see to it that nobody delays it, and why it waits."""
        because = self._refusal(run)
        if because:
            self._because[run.run_id] = because
            return
        limits = self._allowances(run)
        full = [limit for limit, need in limits if limit.stays_full_for(need)]
        refused = self._refused.setdefault(run.target_id, Refused())
        on = self._nodes[run.target_id]
        if full:
            if not self._make_way(run, on):
                self._because[run.run_id] = self._words.full(run, full[0] is limits[0][0])
                for limit, need in limits:
                    if limit in full:
                        limit.wait(need)
            return
        may_start = not any(limit.is_full_for(need) for limit, need in limits)
        places = None
        if may_start and not refused.now.covers(run):
            places = self._floor.start(run, on)
            if places is None:
                refused.now.note(run)
        if places is None and self._wait_for_nodes(run, on, refused):
            return
        if places is not None:
            self._start[run.run_id] = places
            self._words.starts(run)
        for limit, need in limits:
            limit.take(need)

    def _wait_for_nodes(self, run: Waiting, on: frozenset[int], refused: Refused) -> bool:
        """See to it that nobody delays a run that waits for nodes; give whether others make way."""
        fits_now = not refused.ever.covers(run) and self._floor.fits(run, on)
        if not fits_now:
            refused.ever.note(run)
        self._words.waits(run, fits_now)
        if refused.closed.covers_all_of(run):
            return False
        is_soon = fits_now or (not refused.soon.covers(run) and self._floor.fits_soon(run, on))
        if not is_soon:
            refused.soon.note(run)
        if not is_soon and self._make_way(run, on):
            return True
        if len(self._promised) < MOST_KEPT:
            start = self._floor.keep(run, on)
            if start is not None:
                self._promised[run.run_id] = start
                return False
        self._floor.close(run, on)
        refused.closed.note(run)
        return False

    def _refusal(self, run: Waiting) -> str:
        """Say why a run cannot start however long it waits as things are; it holds nobody up."""
        terms = self._limits.targets[run.target_id]
        quota = self._limits.quotas.get((run.target_id, run.team_id))
        if terms.closed:
            return terms.closed
        if quota and run.need.gpus and quota.is_spent:
            return self._words.spent(terms, quota)
        if any(not need.fits(limit.most) for limit, need in self._allowances(run)):
            return self._words.beyond(run)
        possible = self._possible.setdefault(run.target_id, {})
        if run.processes not in possible:
            possible[run.processes] = self._floor.is_possible(run, self._nodes[run.target_id])
        return "" if possible[run.processes] else self._words.impossible(run)

    def _make_way(self, run: Waiting, on: frozenset[int]) -> bool:
        """Send back the newest runs of low priority, as few as will do, if that starts this one."""
        refused = self._refused[run.target_id].even_then
        if run.priority < 0 or not self._victims or refused.covers(run):
            return False
        if self._freed is None:
            self._freed = self._floor.freed_by(self._victims)
        if not self._floor.fits_in(run, on, self._freed):
            refused.note(run)
            return False
        if not self._would_start(run, on, self._victims):
            return False
        count = 1 + bisect_left(
            range(1, len(self._victims)),
            True,
            key=lambda count: self._would_start(run, on, self._victims[:count]),
        )
        chosen = self._fewest(run, on, self._victims[:count])
        for victim in chosen:
            self._floor.let_go(victim)
            for limit, share in self._freed_by[id(victim)]:
                limit.leaving += share
        self._victims = [one for one in self._victims if one not in chosen]
        self._freed = None
        self._preempt |= {one.run_id: run.run_id for one in chosen if one.run_id is not None}
        for limit, need in self._allowances(run):
            limit.take(need)
        start = self._floor.keep(run, on)
        self._promised[run.run_id] = inf if start is None else start
        self._words.made_way(run, chosen)
        return True

    def _fewest(self, run: Waiting, on: frozenset[int], enough: list[Holding]) -> list[Holding]:
        """Give of those that are enough only what is needed, with the newest rather than others."""
        nodes = self._floor.fits_in(run, on, self._floor.freed_by(enough))
        there = [one for one in enough if any(part.node in nodes for part in one.parts)]
        chosen = there if self._would_start(run, on, there) else enough
        for victim in reversed(chosen[:]):
            fewer = [one for one in chosen if one is not victim]
            if self._would_start(run, on, fewer):
                chosen = fewer
        return chosen

    def _would_start(self, run: Waiting, on: frozenset[int], leaving: Sequence[Holding]) -> bool:
        for limit, need in self._allowances(run):
            freed = total(
                share
                for holding in leaving
                for other, share in self._freed_by[id(holding)]
                if other is limit
            )
            if limit.stays_full_for(need, without=freed):
                return False
        return bool(self._floor.fits_in(run, on, self._floor.freed_by(leaving)))

    def _allowances(self, one: Waiting | Holding) -> list[tuple[Allowance, Share]]:
        """Give the limits that a run or service counts under, and as how much."""
        found = []
        share = one.need if isinstance(one, Waiting) else one.share
        target = self._targets.get(one.target_id)
        if target is not None:
            found.append((target, share))
        team = self._teams.get((one.target_id, one.team_id))
        if team is not None:
            is_run = isinstance(one, Waiting) or one.run_id is not None
            found.append((team, Share(gpus=share.gpus, processes=int(is_run))))
        return found
