"""Lets queued runs start: asks the queue, pool by pool, and carries out what it decides."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from django.db import transaction
from django.utils import timezone

from runs.capacity import holdings_of, limits_of, machines_of, title_of, waiting_of
from runs.events import group_of_run, nudge_on_commit
from runs.lifecycle import StaleRun, move, requeue
from runs.models import Run
from runs.queue import decide
from runs.queue_terms import Decision, Holding, Limits, Machine, Waiting
from runs.states import RequeueReason, RunStatus
from workspace.compute.base import BackendError, Unreachable
from workspace.models import ComputeTarget, TargetKind
from workspace.reach import Reach
from workspace.selectors import sharers_of

AGAIN_SECONDS = 10.0
ROWS_AT_ONCE = 500
MOST_CHARACTERS = 300
log = logging.getLogger(__name__)

Told = tuple[list[Waiting], list[Holding], list[Machine], Limits]


@dataclass(frozen=True)
class _Decided:
    """What the queue was told and when; the same gives the same, but for the time."""

    told: Told
    at: float


class Admission:
    """Admits runs. What it remembers only saves deciding the same again."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._waiting: dict[tuple[int, int, float | None], Waiting] = {}
        self._decided: dict[int, _Decided] = {}

    def admit(self, queued: Sequence[Run]) -> list[Run]:
        """Give the queued runs that start now; note on the others why they wait."""
        self._waiting = {
            _key(run): self._waiting.get(_key(run)) or waiting_of(run) for run in queued
        }
        admitted = []
        left = list(queued)
        while left:
            target = left[0].target
            pool = [target, *sharers_of(target)]
            keys = {one.pk for one in pool}
            runs = [run for run in left if run.target_id in keys]
            left = [run for run in left if run.target_id not in keys]
            admitted += self._admit_to(pool, runs)
        return admitted

    def _admit_to(self, pool: Sequence[ComputeTarget], runs: Sequence[Run]) -> list[Run]:
        machines, silent = self._look({run.target_id: run.target for run in runs}.values())
        _note_why({run.pk: silent[run.target_id] for run in runs if run.target_id in silent}, runs)
        reached = [run for run in runs if run.target_id not in silent]
        told = (
            [self._waiting[_key(run)] for run in reached],
            holdings_of(pool, machines),
            machines,
            limits_of(pool),
        )
        key = min(target.pk for target in pool)
        last = self._decided.get(key)
        if last and last.told == told and time.monotonic() - last.at < AGAIN_SECONDS:
            return []
        self._decided[key] = _Decided(told, time.monotonic())
        decision = decide(*told, timezone.now().timestamp())
        _note_why(decision.because, reached)
        _send_back(decision.preempt, reached)
        return [run for run in reached if run.pk in decision.start and _start(run, decision)]

    def _look(self, targets: Iterable[ComputeTarget]) -> tuple[list[Machine], dict[int, str]]:
        """Give the machines of one pool as its targets show them, and why others show none."""
        machines: dict[str, Machine] = {}
        because = {}
        for target in targets:
            try:
                self._reach.backend(target)
                seen = machines_of(target)
                if TargetKind(target.kind) == TargetKind.SWARM or not machines:
                    machines |= {machine.name: machine for machine in seen}
            except Unreachable as error:
                self._reach.lost(target, error)
                because[target.pk] = f"Target {target.name} does not answer: {error}"
            except BackendError as error:
                because[target.pk] = f"Target {target.name} cannot be used: {error}"
        return list(machines.values()), because


def _key(run: Run) -> tuple[int, int, float | None]:
    """Name what may change of a waiting run."""
    return run.pk, run.priority, run.queue_rank


def _start(run: Run, decision: Decision) -> bool:
    """Admit a run to its nodes, unless someone moved it meanwhile."""
    placement = [asdict(place) for place in decision.start[run.pk]]
    try:
        move(run, RunStatus.PREPARING, waiting_because="", placement=placement)
    except StaleRun as stale:
        log.info("%s", stale)
        return False
    return True


def _send_back(preempt: Mapping[int, int], waiting: Sequence[Run]) -> None:
    """Have runs of low priority make way, each with a note for which run."""
    whom = {run.pk: run for run in waiting}
    for victim in Run.objects.filter(pk__in=preempt).select_related("team"):
        other = whom[preempt[victim.pk]]
        title = title_of(other) if other.team_id == victim.team_id else "another team's run"
        requeue(victim, RequeueReason.PREEMPTED, message=f"It makes way for {title}.")


def _note_why(because: Mapping[int, str], runs: Sequence[Run]) -> None:
    """Store why runs wait where that has changed, and tell those who watch them."""
    changed: dict[str, list[int]] = {}
    for run in runs:
        text = because.get(run.pk, run.waiting_because)[:MOST_CHARACTERS]
        if text != run.waiting_because:
            changed.setdefault(text, []).append(run.pk)
    with transaction.atomic():
        for text, numbers in changed.items():
            for at in range(0, len(numbers), ROWS_AT_ONCE):
                some = numbers[at : at + ROWS_AT_ONCE]
                Run.objects.filter(pk__in=some, status=RunStatus.QUEUED).update(
                    waiting_because=text
                )
                for number in some:
                    nudge_on_commit(group_of_run(number), "event")
