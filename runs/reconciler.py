"""Look, decide, act: what brings every unfinished run one step nearer to its end.

A tick may be cut short at any line: each step is found again from the database and the backend by
the next tick, and doing it twice does no harm.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone

from runs import launch
from runs.capacity import capacity_of, held_of, need_of
from runs.cluster import processes_of
from runs.config import RunConfig
from runs.decisions import Seen, Verdict, never_came_up, why_over
from runs.events import group_of_run, nudge_on_commit
from runs.lifecycle import StaleRun, conclude, finalize, move
from runs.logs import log_of
from runs.metrics_jobs import finish_metrics
from runs.models import Process, ProcessGroup, Run
from runs.queue import Share, Waiting, admit, total
from runs.selectors import latest_attempt
from runs.states import UNFINISHED, EndReason, ProcessState, RunStatus
from workspace.compute.base import BackendError, SightingState
from workspace.compute.registry import backend_for
from workspace.environments import enqueue_build
from workspace.models import ComputeTarget, EnvironmentState

TEARDOWN_GRACE = timedelta(seconds=5)
KILL_MARGIN = timedelta(seconds=2)
LINES_SHOWN = 30
LOOK_EVERY_SECONDS = 1.0
log = logging.getLogger(__name__)


class RunReconciler:
    """Moves runs along. What it remembers between ticks only saves looking too often."""

    def __init__(self) -> None:
        self._looked_at: dict[str, float] = {}

    def tick(self) -> None:
        """Take every unfinished run as far as it can go now; one that trips harms no other."""
        unfinished = Run.objects.filter(status__in=UNFINISHED).order_by("pk")
        for run in unfinished.exclude(status=RunStatus.QUEUED).select_related("target", "team"):
            self._advance(run)
        self._admit_queued()

    def _advance(self, run: Run) -> None:
        steps: dict[str, Callable[[Run], None]] = {
            RunStatus.PREPARING: self._prepare,
            RunStatus.STARTING: self._start,
            RunStatus.RUNNING: self._watch,
            RunStatus.FINALIZING: self._finish,
        }
        try:
            before = None
            while run.status != before and run.status in steps:
                before = run.status
                steps[run.status](run)
        except StaleRun as stale:
            log.info("%s", stale)
        except BackendError as error:
            log.warning("run %s of %s: %s", run.number, run.team.slug, error)
        except Exception:
            log.exception("run %s of %s could not be taken further", run.number, run.team.slug)

    def _admit_queued(self) -> None:
        queued = list(
            Run.objects.filter(status=RunStatus.QUEUED)
            .select_related("target", "team")
            .order_by("pk")
        )
        for run in [run for run in queued if run.cancel_requested_at]:
            self._cancel(run)
        waiting = [run for run in queued if not run.cancel_requested_at]
        for target in {run.target.pk: run.target for run in waiting}.values():
            self._admit_to(target, [run for run in waiting if run.target_id == target.pk])

    def _admit_to(self, target: ComputeTarget, runs: list[Run]) -> None:
        if target.is_paused:
            decisions = {run.pk: f"Target {target.name} is paused by an admin." for run in runs}
        else:
            preparing = Run.objects.filter(status=RunStatus.PREPARING, target__kind=target.kind)
            held = held_of(target) + total(_need(run) for run in preparing)
            decisions = admit(
                [Waiting(run.pk, run.number, run.priority, _need(run)) for run in runs],
                held,
                capacity_of(target),
            )
        for run in runs:
            because = decisions[run.pk]
            if not because:
                move(run, RunStatus.PREPARING, waiting_because="")
                self._advance(run)
            elif because != run.waiting_because:
                Run.objects.filter(pk=run.pk).update(waiting_because=because[:300])
                nudge_on_commit(group_of_run(run.pk), "event")

    def _prepare(self, run: Run) -> None:
        if run.cancel_requested_at:
            return self._cancel(run)
        environment = launch.environment_for(run)
        if environment.state == EnvironmentState.FAILED:
            finalize(
                run,
                EndReason.ENVIRONMENT_FAILED,
                message="The environment could not be built.",
                lines=environment.error.splitlines()[-LINES_SHOWN:],
            )
        elif environment.state == EnvironmentState.READY:
            launch.create_group(run, environment)
            move(run, RunStatus.STARTING)
        else:
            enqueue_build(environment)
        return None

    def _start(self, run: Run) -> None:
        group = _group_of(run)
        config = RunConfig.from_row(run.config)
        if run.cancel_requested_at:
            return self._cancel(run)
        try:
            self._start_once(group)
        except BackendError as error:
            if not error.retryable:
                finalize(run, EndReason.START_FAILED, message=str(error))
            raise
        group.refresh_from_db()
        if group.go_at is not None:
            move(run, RunStatus.RUNNING)
            return None
        since = run.starting_at or timezone.now()
        verdict = never_came_up(
            self._seen(group), since, config.start_deadline, timezone.now()
        ) or why_over(config.mode, self._seen(group), timezone.now())
        if verdict:
            _end(run, verdict)
        return None

    def _start_once(self, group: ProcessGroup) -> None:
        """Start a group, or what an interrupted start left out; a whole one is left alone."""
        if self._is_due(group.label):
            backend_for(group.target).start(launch.plan_of(group))

    def _watch(self, run: Run) -> None:
        config = RunConfig.from_row(run.config)
        now = timezone.now()
        limit = config.max_run_duration_seconds
        if run.cancel_requested_at:
            return self._cancel(run)
        verdict = why_over(config.mode, self._seen(_group_of(run)), now)
        if verdict:
            _end(run, verdict)
        elif limit and run.running_at and now - run.running_at > timedelta(seconds=limit):
            finalize(
                run,
                EndReason.TIME_LIMIT,
                message=f"The run reached its maximum duration of {limit} s.",
            )
        return None

    def _finish(self, run: Run) -> None:
        """Stop what is left, wait until logs and outputs are stored, tidy up, conclude."""
        group = latest_attempt(run)
        if group is None:
            conclude(run)
            return
        backend = backend_for(group.target)
        if group.removed_at is None:
            if not self._is_torn_down(run, group):
                return
            backend.remove(group.label)
            ProcessGroup.objects.filter(pk=group.pk).update(
                is_fenced=True, removed_at=timezone.now()
            )
            self._looked_at.pop(group.label, None)
        finish_metrics(run)
        conclude(run, **_last_words(run, group))

    def _is_torn_down(self, run: Run, group: ProcessGroup) -> bool:
        """Bring a group to its end: ask, then kill, then see that everything is collected."""
        backend = backend_for(group.target)
        grace = timedelta(seconds=group.grace_seconds)
        if run.end_reason not in {EndReason.CANCELED, EndReason.TIME_LIMIT}:
            grace = min(grace, TEARDOWN_GRACE)
        if group.stop_requested_at is None:
            group.stop_requested_at = timezone.now()
            group.save(update_fields=["stop_requested_at"])
            backend.stop(group.label, grace)
        uncollected = [p.name for p in group.processes.all() if p.collected_at is None]
        if not uncollected:
            return True  # a runner that has shipped everything has nothing left but to exit
        alive = {s.name for s in backend.observe(group.label) if s.state == SightingState.ALIVE}
        exited = {p.name for p in group.processes.all() if p.state == ProcessState.EXITED}
        if alive - exited and self._is_overdue(group, grace):
            backend.kill(group.label)
        dead = [name for name in uncollected if name not in alive]
        salvaged = not dead or not backend.salvage(group.label, dead)
        return salvaged and len(dead) == len(uncollected)

    def _is_overdue(self, group: ProcessGroup, grace: timedelta) -> bool:
        asked_at = group.stop_requested_at or timezone.now()
        return timezone.now() - asked_at > grace + KILL_MARGIN

    def _cancel(self, run: Run) -> None:
        finalize(run, EndReason.CANCELED, message="Canceled on request.")
        self._advance(run)

    def _seen(self, group: ProcessGroup) -> list[Seen]:
        """Join what runners reported with what the backend sees, looking only when it is due."""
        dead: set[str] = set()
        if self._is_due(group.label):
            backend = backend_for(group.target)
            seen = {sighting.name: sighting for sighting in backend.observe(group.label)}
            gone = [
                process.name
                for process in group.processes.all()
                if process.collected_at is None
                and (process.name not in seen or seen[process.name].state != SightingState.ALIVE)
            ]
            dead = set(gone) - set(backend.salvage(group.label, gone)) if gone else set()
        processes = Process.objects.filter(group=group)
        return [_as_seen(process, is_alive=process.name not in dead) for process in processes]

    def _is_due(self, label: str) -> bool:
        now = time.monotonic()
        if now - self._looked_at.get(label, float("-inf")) < LOOK_EVERY_SECONDS:
            return False
        self._looked_at[label] = now
        return True


def _need(run: Run) -> Share:
    return need_of(processes_of(RunConfig.from_row(run.config)))


def _group_of(run: Run) -> ProcessGroup:
    group = latest_attempt(run)
    if group is None:
        raise BackendError(f"Run {run.number} is {run.status} without any processes.")
    return group


def _end(run: Run, verdict: Verdict) -> None:
    finalize(
        run,
        verdict.reason,
        message=verdict.message,
        process=verdict.process,
        exit_code=verdict.exit_code,
    )


def _as_seen(process: Process, *, is_alive: bool) -> Seen:
    return Seen(
        role=process.role,
        index=process.index,
        state=ProcessState(process.state),
        exit_code=process.exit_code,
        reason=process.exit_reason,
        out_of_memory=process.out_of_memory,
        exited_at=process.exited_at,
        is_alive=is_alive,
    )


def _last_words(run: Run, group: ProcessGroup) -> dict[str, list[str]]:
    """Give the last lines of the process at fault, for the page that says why a run failed."""
    name = run.end_detail.get("process")
    if not name or run.end_reason == EndReason.COMPLETED:
        return {}
    return {"lines": log_of(group.label, name).tail(LINES_SHOWN)}
