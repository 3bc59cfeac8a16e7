"""Admits queued runs: collects the input of each pool, decides, and carries the decision out."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce

from django.db import transaction
from django.utils import timezone

from runs.events import group_of_run, nudge_on_commit
from runs.lifecycle import StaleRun, requeue, transition
from runs.models import Run
from runs.scheduling.inputs import (
    allocations_of,
    limits_of,
    pending_run_of,
    schedulable_nodes_of,
    system_reserved,
    title_of,
)
from runs.scheduling.queue import decide
from runs.scheduling.requests import (
    Allocation,
    PendingRun,
    SchedulableNode,
    SchedulingDecision,
    SchedulingLimits,
)
from runs.scheduling.resources import Resources
from runs.scheduling.wait_reasons import preempted_by, target_unreachable, target_unusable
from runs.states import RequeueReason, RunStatus
from workspace.compute.base import BackendError, TargetUnreachable
from workspace.models import ComputeTarget
from workspace.targets.reachability import Reachability
from workspace.targets.selectors import targets_sharing_nodes_with

DECIDE_AGAIN_SECONDS = 10.0
ROWS_AT_ONCE = 500
MAX_REASON_LENGTH = 300
UNREADABLE = "Its configuration cannot be read; the log of the supervisor says why. Submit it anew."
log = logging.getLogger(__name__)

SchedulingInput = tuple[list[PendingRun], list[Allocation], list[SchedulableNode], SchedulingLimits]


@dataclass(frozen=True)
class _LastDecision:
    """The input of a decision, and when it was made. The same input need not be decided again."""

    scheduling_input: SchedulingInput
    at: float


class Admission:
    """Admits runs. What it keeps in memory only saves work."""

    def __init__(self, reachability: Reachability) -> None:
        self._reachability = reachability
        self._pending: dict[tuple[int, int, float | None], PendingRun] = {}
        self._decided: dict[int, _LastDecision] = {}

    def admit(self, queued: Sequence[Run]) -> list[Run]:
        """Start the queued runs that can start, and return them; store why the others wait.

        What cannot be read of one run keeps no other back, nor one pool's trouble another pool.
        """
        left = self._readable(queued)
        admitted: list[Run] = []
        while left:
            target = left[0].compute_target
            pool = [target, *targets_sharing_nodes_with(target)]
            keys = {one.pk for one in pool}
            runs = [run for run in left if run.target_id in keys]
            left = [run for run in left if run.target_id not in keys]
            try:
                admitted += self._admit_to(pool, runs)
            except Exception:
                log.exception("Admitting runs to target %s failed", target.name)
        return admitted

    def _readable(self, queued: Sequence[Run]) -> list[Run]:
        """Return the runs of which it is known what they need; say why the others wait."""
        known, self._pending = self._pending, {}
        unreadable = {}
        for run in queued:
            try:
                self._pending[_key(run)] = known.get(_key(run)) or pending_run_of(run)
            except Exception:
                if run.wait_reason != UNREADABLE:
                    log.exception("Run %s of %s cannot be read", run.number, run.team.slug)
                unreadable[run.pk] = UNREADABLE
        _store_wait_reasons(unreadable, queued)
        return [run for run in queued if run.pk not in unreadable]

    def _admit_to(self, pool: Sequence[ComputeTarget], runs: Sequence[Run]) -> list[Run]:
        targets = {run.target_id: run.compute_target for run in runs}
        reserved = {key: system_reserved(one, pool) for key, one in targets.items()}
        for_all = reduce(Resources.capped_by, reserved.values())
        nodes, unusable = self._nodes_of_pool(targets.values(), for_all)
        _store_wait_reasons(
            {run.pk: unusable[run.target_id] for run in runs if run.target_id in unusable}, runs
        )
        candidates = [run for run in runs if run.target_id not in unusable]
        scheduling_input = (
            [
                _leaving_idle(self._pending[_key(run)], reserved[run.target_id] - for_all)
                for run in candidates
            ],
            allocations_of(pool, nodes),
            nodes,
            limits_of(pool),
        )
        key = min(target.pk for target in pool)
        last = self._decided.get(key)
        if (
            last
            and last.scheduling_input == scheduling_input
            and time.monotonic() - last.at < DECIDE_AGAIN_SECONDS
        ):
            return []
        decision = decide(*scheduling_input, timezone.now().timestamp())
        if decision.start:
            self._decided.pop(key, None)  # the same runs may be back with the same needs
        else:
            self._decided[key] = _LastDecision(scheduling_input, time.monotonic())
        _store_wait_reasons(decision.wait_reasons, candidates)
        _preempt(decision.preempt, candidates)
        return [run for run in candidates if run.pk in decision.start and _start(run, decision)]

    def _nodes_of_pool(
        self, targets: Iterable[ComputeTarget], reserved: Resources
    ) -> tuple[list[SchedulableNode], dict[int, str]]:
        """Return the nodes of one pool, and why targets cannot be used, by key."""
        nodes: dict[str, SchedulableNode] = {}
        unusable = {}
        for target in targets:
            try:
                self._reachability.backend(target)
                of_target = schedulable_nodes_of(target, reserved=reserved)
                if target.kind_info.has_many_nodes or not nodes:
                    nodes |= {node.name: node for node in of_target}
            except TargetUnreachable as error:
                self._reachability.mark_unreachable(target, error)
                unusable[target.pk] = target_unreachable(target.name, error)
            except BackendError as error:
                unusable[target.pk] = target_unusable(target.name, error)
        return list(nodes.values()), unusable


def _leaving_idle(run: PendingRun, amount: Resources) -> PendingRun:
    return run if amount == run.leaves_idle else replace(run, leaves_idle=amount)


def _key(run: Run) -> tuple[int, int, float | None]:
    """Return what identifies a queued run, and what of it may change."""
    return run.pk, run.priority, run.queue_rank


def _start(run: Run, decision: SchedulingDecision) -> bool:
    """Admit a run to its nodes, unless its status changed meanwhile."""
    placement = [asdict(place) for place in decision.start[run.pk]]
    try:
        transition(run, RunStatus.PREPARING, wait_reason="", placement=placement)
    except StaleRun as stale:
        log.info("%s", stale)
        return False
    return True


def _preempt(preempt: Mapping[int, int], queued: Sequence[Run]) -> None:
    """Send runs of low priority back to the queue, each with a note for which run."""
    by_key = {run.pk: run for run in queued}
    for victim in Run.objects.filter(pk__in=preempt).select_related("team"):
        other = by_key[preempt[victim.pk]]
        title = title_of(other) if other.team_id == victim.team_id else "another team's run"
        requeue(victim, RequeueReason.PREEMPTED, message=preempted_by(title))


def _store_wait_reasons(reasons: Mapping[int, str], runs: Sequence[Run]) -> None:
    """Store why runs wait where that has changed, and notify their watchers."""
    changed: dict[str, list[int]] = {}
    for run in runs:
        reason = reasons.get(run.pk, run.wait_reason)[:MAX_REASON_LENGTH]
        if reason != run.wait_reason:
            changed.setdefault(reason, []).append(run.pk)
    with transaction.atomic():
        for reason, keys in changed.items():
            for at in range(0, len(keys), ROWS_AT_ONCE):
                some = keys[at : at + ROWS_AT_ONCE]
                Run.objects.filter(pk__in=some, status=RunStatus.QUEUED).update(wait_reason=reason)
                for key in some:
                    nudge_on_commit(group_of_run(key), "event")
