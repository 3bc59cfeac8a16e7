"""Decides which runs start now, and where: a gang starts as a whole or not at all.

`decide` is a pure function. It takes the runs by priority, then in order of arrival.

*Reservation*: for a run that has to wait, nodes are reserved from the earliest time on when they
are free (`node_pool`). *Backfill*: a later run starts only if it ends before that time or fits
beside everything reserved, so no reservation moves back. *Preemption*: runs below priority 0 go
back to the queue for a run of priority 0 or more that starts in their place (`preemption`).
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from runs.scheduling.assumed_needs import with_assumed_needs
from runs.scheduling.node_pool import NodePool, Nodes
from runs.scheduling.preemption import Preemption
from runs.scheduling.quotas import Quotas, QuotaUse
from runs.scheduling.rejection_cache import TargetRejections
from runs.scheduling.requests import (
    Allocation,
    PendingRun,
    Placement,
    SchedulableNode,
    SchedulingDecision,
    SchedulingLimits,
)
from runs.scheduling.resources import Resources
from runs.scheduling.wait_reasons import WaitReasons

MAX_RESERVATIONS = 16


def decide(
    pending: Sequence[PendingRun],
    allocations: Sequence[Allocation],
    nodes: Sequence[SchedulableNode],
    limits: SchedulingLimits,
    now: float,
) -> SchedulingDecision:
    """Decide for every pending run of one pool of nodes whether it starts, or why it waits."""
    queue = _Queue(allocations, nodes, limits, now)
    for run in sorted(pending, key=lambda run: (-run.priority, run.rank, run.run_id)):
        queue.take(queue.sized(run))
    return queue.decision()


class _Queue:
    def __init__(
        self,
        allocations: Sequence[Allocation],
        nodes: Sequence[SchedulableNode],
        limits: SchedulingLimits,
        now: float,
    ) -> None:
        self._limits = limits
        self._pool = NodePool(nodes, allocations, now)
        self._nodes = {key: self._pool.named(one.nodes) for key, one in limits.targets.items()}
        self._quotas = Quotas(limits, allocations)
        self._preemption = Preemption(self._pool, self._quotas, allocations)
        self._wait_reasons = WaitReasons(self._pool, allocations, limits)
        self._rejections = {key: TargetRejections() for key in limits.targets}
        self._possible: dict[int, dict[tuple[Resources, ...], bool]] = {
            key: {} for key in limits.targets
        }
        self._sizes: dict[tuple[object, ...], PendingRun] = {}
        self._starts: dict[int, tuple[Placement, ...]] = {}
        self._latest_starts: dict[int, float] = {}
        self._preempted: dict[int, int] = {}
        self._reasons: dict[int, str] = {}

    def decision(self) -> SchedulingDecision:
        self._reasons |= self._wait_reasons.reasons(self._latest_starts)
        return SchedulingDecision(self._starts, self._preempted, self._reasons, self._latest_starts)

    def sized(self, run: PendingRun) -> PendingRun:
        """Return a run with what is assumed for processes that state no CPUs or memory."""
        if not run.assumed:
            return run
        key = (run.target_id, run.processes, run.assumed)
        if key not in self._sizes:
            self._sizes[key] = with_assumed_needs(run, self._could_ever_start)
        known = self._sizes[key]
        return replace(run, processes=known.processes, assumed=known.assumed)

    def take(self, run: PendingRun) -> None:
        """Start a run, or reserve what it waits for."""
        reason = self._blocking_reason(run)
        if reason:
            self._reasons[run.run_id] = reason
            return
        on = self._nodes[run.target_id]
        quotas = self._quotas.of(run)
        if any(quota.stays_full_for(need) for quota, need in quotas):
            if not self._preempt_for(run, on):
                self._wait_for_quota(run, quotas)
            return
        if self._start(run, on, quotas) or not self._wait_for_nodes(run, on):
            for quota, need in quotas:
                quota.take(need)

    def _blocking_reason(self, run: PendingRun) -> str:
        """Return why a run cannot start however long it waits, or ""; it delays no other run."""
        target = self._limits.targets[run.target_id]
        quota = self._limits.quotas.get((run.target_id, run.team_id))
        if target.unavailable_reason:
            return target.unavailable_reason
        if quota and run.need.gpus and quota.is_spent:
            return self._wait_reasons.quota_used_up(target, quota)
        if any(not need.fits(limit.limit) for limit, need in self._quotas.of(run)):
            return self._wait_reasons.over_limit(run)
        return "" if self._fits_when_idle(run) else self._wait_reasons.never_fits(run)

    def _fits_when_idle(self, run: PendingRun) -> bool:
        possible = self._possible[run.target_id]
        if run.processes not in possible:
            possible[run.processes] = self._pool.could_ever_start(run, self._nodes[run.target_id])
        return possible[run.processes]

    def _could_ever_start(self, run: PendingRun) -> bool:
        limit = self._limits.targets[run.target_id].limit
        return run.need.fits(limit) and self._fits_when_idle(run)

    # Starting, backfill included

    def _start(self, run: PendingRun, on: Nodes, quotas: QuotaUse) -> bool:
        """Start a run if its quotas and nodes allow it now and no reservation is delayed."""
        rejected = self._rejections[run.target_id].to_start
        if any(quota.is_full_for(need) for quota, need in quotas) or rejected.covers(run):
            return False
        placements = self._pool.start(run, on)
        if placements is None:
            rejected.note(run)
            return False
        self._starts[run.run_id] = placements
        self._wait_reasons.note_start(run)
        return True

    # Reservation

    def _wait_for_quota(self, run: PendingRun, quotas: QuotaUse) -> None:
        """Let a run wait for its limits; later runs must fit there beside it."""
        full = [quota for quota, need in quotas if quota.stays_full_for(need)]
        self._reasons[run.run_id] = self._wait_reasons.limit_reached(
            run, is_target=full[0] is quotas[0][0]
        )
        for quota, need in quotas:
            if quota in full:
                quota.queue(need)

    def _wait_for_nodes(self, run: PendingRun, on: Nodes) -> bool:
        """Reserve or block nodes for a run; return whether others are preempted for it instead."""
        rejections = self._rejections[run.target_id]
        fits_now = not rejections.to_fit_now.covers(run) and self._pool.fits_now(run, on)
        if not fits_now:
            rejections.to_fit_now.note(run)
        self._wait_reasons.note_waiting(run, fits_now)
        if rejections.blocked.covers_all_processes(run):
            return False
        fits_soon = fits_now or (
            not rejections.to_fit_soon.covers(run) and self._pool.fits_soon(run, on)
        )
        if not fits_soon:
            rejections.to_fit_soon.note(run)
            if self._preempt_for(run, on):
                return True
        if len(self._latest_starts) < MAX_RESERVATIONS:
            start = self._pool.reserve(run, on)
            if start is not None:
                self._latest_starts[run.run_id] = start
                return False
        self._pool.block(run, on)
        rejections.blocked.note(run)
        return False

    # Preemption

    def _preempt_for(self, run: PendingRun, on: Nodes) -> bool:
        """Preempt runs of low priority and reserve their nodes, if the run can start then."""
        rejected = self._rejections[run.target_id].with_preemption
        victims = self._preemption.victims_for(run, on, rejected)
        if victims is None:
            return False
        self._preemption.preempt(victims)
        self._preempted |= {one.run_id: run.run_id for one in victims if one.run_id is not None}
        for quota, need in self._quotas.of(run):
            quota.take(need)
        start = self._pool.reserve(run, on)
        self._latest_starts[run.run_id] = inf if start is None else start
        self._wait_reasons.note_preemption(run, victims)
        return True
