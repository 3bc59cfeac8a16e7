"""Preemption: runs below priority 0 go back to the queue for one of priority 0 or more."""

from bisect import bisect_left
from collections.abc import Sequence

from runs.scheduling.node_pool import NodePool, Nodes
from runs.scheduling.quotas import Quotas
from runs.scheduling.rejection_cache import RejectionCache
from runs.scheduling.requests import Allocation, PendingRun
from runs.scheduling.resources import Resources, total


class Preemption:
    """Chooses whom to preempt: the newest first, no more than needed, and nobody in vain."""

    def __init__(self, pool: NodePool, quotas: Quotas, allocations: Sequence[Allocation]) -> None:
        self._pool = pool
        self._quotas = quotas
        self._candidates = sorted(
            (one for one in allocations if one.may_be_preempted and one.priority < 0),
            key=lambda one: (-one.since, -(one.run_id or 0)),
        )
        self._quota_uses = {id(one): quotas.of(one) for one in self._candidates}
        self._freed_by_all: dict[str, Resources] | None = None

    def victims_for(
        self, run: PendingRun, on: Nodes, rejected: RejectionCache
    ) -> list[Allocation] | None:
        """Return the runs to preempt so that a run can start, or None if that is not possible.

        The list is empty if it can start once the runs preempted before have ended.
        """
        if run.priority < 0 or not self._candidates or rejected.covers(run):
            return None
        if self._freed_by_all is None:
            self._freed_by_all = self._pool.freed_by_ending(self._candidates)
        if not self._pool.nodes_with_released(run, on, self._freed_by_all):
            rejected.note(run)
            return None
        if not self._would_start(run, on, self._candidates):
            return None
        count = 1 + bisect_left(
            range(1, len(self._candidates)),
            True,
            key=lambda count: self._would_start(run, on, self._candidates[:count]),
        )
        return self._fewest(run, on, self._candidates[:count])

    def preempt(self, victims: Sequence[Allocation]) -> None:
        """Count runs as ending now."""
        for victim in victims:
            self._pool.release(victim)
            for quota, amount in self._quota_uses[id(victim)]:
                quota.ending += amount
        self._candidates = [one for one in self._candidates if one not in victims]
        self._freed_by_all = None

    def _fewest(self, run: PendingRun, on: Nodes, enough: list[Allocation]) -> list[Allocation]:
        """Return the smallest sufficient part of the candidates."""
        nodes = self._pool.nodes_with_released(run, on, self._pool.freed_by_ending(enough))
        there = [one for one in enough if any(part.node in nodes for part in one.parts)]
        chosen = there if self._would_start(run, on, there) else enough
        for victim in reversed(chosen[:]):
            fewer = [one for one in chosen if one is not victim]
            if self._would_start(run, on, fewer):
                chosen = fewer
        return chosen

    def _would_start(self, run: PendingRun, on: Nodes, ending: Sequence[Allocation]) -> bool:
        for quota, need in self._quotas.of(run):
            released = total(
                amount
                for allocation in ending
                for other, amount in self._quota_uses[id(allocation)]
                if other is quota
            )
            if quota.stays_full_for(need, released):
                return False
        freed = self._pool.freed_by_ending(ending)
        return bool(self._pool.nodes_with_released(run, on, freed))
