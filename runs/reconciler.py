"""Look, decide, act: what brings every unfinished run one step nearer to its end.

A tick may be cut short at any line: each step is found again from the database and the backend by
the next tick, and doing it twice does no harm.
"""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from django.utils import timezone

from runs import launch, silence, stillness, teardown
from runs.admission import Admission
from runs.config import RunConfig
from runs.decisions import Seen, Verdict, needs_a_look, never_came_up, why_over
from runs.last_words import LINES_SHOWN, last_words
from runs.lifecycle import StaleRun, conclude, finalize, move, put_back, requeue
from runs.metrics_jobs import finish_metrics
from runs.models import ProcessGroup, Run
from runs.restarts import is_restarted
from runs.selectors import latest_attempt
from runs.sighting import look, reported
from runs.states import UNFINISHED, WITH_PROCESSES, EndReason, RequeueReason, RunStatus
from workspace.compute.base import Backend, BackendError, Unreachable
from workspace.environments import enqueue_build
from workspace.models import EnvironmentState
from workspace.reach import Reach

TEARDOWN_GRACE = timedelta(seconds=5)
LOOK_EVERY_SECONDS = 1.0
STILL_EVERY_SECONDS = 10.0
WHOLE_GRACE = {EndReason.CANCELED, EndReason.TIME_LIMIT}
log = logging.getLogger(__name__)


class RunReconciler:
    """Moves runs along. What it remembers between ticks only saves looking too often."""

    def __init__(self, reach: Reach | None = None) -> None:
        self._looked_at: dict[str, float] = {}
        self._reach = reach or Reach()
        self._admission = Admission(self._reach)

    def tick(self) -> None:
        """Take every unfinished run as far as it can go now; one that trips harms no other."""
        self._reach.look()
        teardown.sweep(self._reach)
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
            try:
                before = None
                while run.status != before and run.status in steps:
                    before = run.status
                    steps[run.status](run)
            except Unreachable as error:
                self._reach.lost(run.target, error)
                self._bear_silence(run)
        except StaleRun as stale:
            log.info("%s", stale)
        except BackendError as error:
            log.warning("run %s of %s: %s", run.number, run.team.slug, error)
        except Exception:
            log.exception("run %s of %s could not be taken further", run.number, run.team.slug)

    def _admit_queued(self) -> None:
        queued = list(
            Run.objects.filter(status=RunStatus.QUEUED)
            .select_related("target", "team", "created_by")
            .order_by("pk")
        )
        for run in [run for run in queued if run.cancel_requested_at]:
            self._cancel(run)
        waiting = [run for run in queued if not run.cancel_requested_at]
        for run in self._admission.admit(waiting):
            self._advance(run)

    def _prepare(self, run: Run) -> None:
        if run.cancel_requested_at:
            return self._cancel(run)
        self._reach.backend(run.target)
        environment = launch.environment_for(run)
        if environment.state == EnvironmentState.FAILED:
            finalize(
                run,
                EndReason.ENVIRONMENT_FAILED,
                message="The environment could not be built.",
                lines=environment.error.splitlines()[-LINES_SHOWN:],
            )
        elif environment.state == EnvironmentState.READY:
            if not _is_former_attempt_gone(run):
                return None
            launch.create_group(run, environment)
            move(run, RunStatus.STARTING)
        else:
            enqueue_build(environment)
        return None

    def _start(self, run: Run) -> None:
        group = _group_of(run)
        if run.cancel_requested_at:
            return self._cancel(run)
        if run.requeue_because:
            return self._bring_back(run, group)
        config = RunConfig.from_row(run.config)
        backend = self._reach.backend(group.target)
        try:
            if self._is_due(group.label):
                backend.start(launch.plan_of(group))
        except BackendError as error:
            if error.retryable:
                raise
            return _end(run, Verdict(EndReason.START_FAILED, str(error)))
        group.refresh_from_db()
        if group.go_at is not None:
            move(run, RunStatus.RUNNING)
            return None
        since, now = run.starting_at or timezone.now(), timezone.now()
        seen = self._seen(group, backend)
        if never_came_up(seen, since, config.start_deadline, now):
            seen = look(group, backend)  # the target may say why
        verdict = never_came_up(seen, since, config.start_deadline, now)
        verdict = verdict or why_over(config.mode, seen, now)
        if verdict:
            _end(run, verdict)
        return None

    def _watch(self, run: Run) -> None:
        group = _group_of(run)
        if run.cancel_requested_at:
            return self._cancel(run)
        if run.requeue_because:
            return self._bring_back(run, group)
        config = RunConfig.from_row(run.config)
        limit = config.max_run_duration_seconds
        now = timezone.now()
        verdict = why_over(config.mode, self._seen_of(run, group), now)
        if verdict:
            _end(run, verdict)
        elif limit and run.running_at and now - run.running_at > timedelta(seconds=limit):
            message = f"The run reached its maximum duration of {limit} s."
            _end(run, Verdict(EndReason.TIME_LIMIT, message))
        elif self._is_due(f"{group.label} still", _stillness_pause(run)):
            verdict = stillness.examine(run, group, now)
            if verdict:
                _end(run, verdict)
        return None

    def _seen_of(self, run: Run, group: ProcessGroup) -> Sequence[Seen]:
        """Look at a run's processes; of those on a silent target runners may have reported all."""
        try:
            seen = self._seen(group, self._reach.backend(group.target))
        except Unreachable:
            if not teardown.is_collected(group):
                raise
            return reported(group)
        silence.end(run)
        return seen

    def _bring_back(self, run: Run, group: ProcessGroup) -> None:
        """End a run's attempt and put it back into the queue; one that is done by now has ended."""
        is_preempted = run.requeue_because == RequeueReason.PREEMPTED
        if group.stop_requested_at is None:
            mode = RunConfig.from_row(run.config).mode
            verdict = why_over(mode, reported(group), timezone.now())
            if verdict and verdict.reason == EndReason.COMPLETED:
                finalize(run, verdict.reason, message=verdict.message, process=verdict.process)
                return
        backend = self._reach.backend(group.target)
        if teardown.bring_to_end(group, backend, _grace_of(group, is_whole=is_preempted)):
            self._forget(group)
            put_back(run)

    def _finish(self, run: Run) -> None:
        """Stop what is left, wait until logs and outputs are stored, tidy up, conclude."""
        group = latest_attempt(run)
        if group is None:
            conclude(run)
            return
        backend = self._reach.backend(group.target)
        grace = _grace_of(group, is_whole=EndReason(run.end_reason) in WHOLE_GRACE)
        if not teardown.bring_to_end(group, backend, grace):
            return
        self._forget(group)
        teardown.discard_checkpoints(run, backend)
        self._conclude(run, group)

    def _conclude(self, run: Run, group: ProcessGroup) -> None:
        finish_metrics(run)
        conclude(run, **last_words(run, group))

    def _bear_silence(self, run: Run) -> None:
        """Wait for a run whose target does not answer, for as long as the target allows."""
        group = latest_attempt(run)
        if group is None or run.status not in {*WITH_PROCESSES, RunStatus.FINALIZING}:
            return
        verdict = silence.bear(run)
        if run.status == RunStatus.FINALIZING:
            if verdict or teardown.is_collected(group):
                teardown.give_up(group)
                self._conclude(run, group)
        elif verdict and run.requeue_because:
            teardown.give_up(group)
            put_back(run)
        elif verdict:
            _end(run, verdict)

    def _cancel(self, run: Run) -> None:
        finalize(run, EndReason.CANCELED, message="Canceled on request.")
        self._advance(run)

    def _seen(self, group: ProcessGroup, backend: Backend) -> Sequence[Seen]:
        """Join what runners reported with what the backend sees, looking only when it is due."""
        seen = reported(group)
        if needs_a_look(seen) or self._is_due(group.label):
            return look(group, backend)
        return seen

    def _is_due(self, what: str, every: float | None = None) -> bool:
        now = time.monotonic()
        every = LOOK_EVERY_SECONDS if every is None else every
        if now - self._looked_at.get(what, float("-inf")) < every:
            return False
        self._looked_at[what] = now
        return True

    def _forget(self, group: ProcessGroup) -> None:
        self._looked_at.pop(group.label, None)
        self._looked_at.pop(f"{group.label} still", None)


def _stillness_pause(run: Run) -> float:
    return min(STILL_EVERY_SECONDS, run.target.still_after_seconds / 4)


def _grace_of(group: ProcessGroup, *, is_whole: bool) -> timedelta:
    grace = timedelta(seconds=group.grace_seconds)
    return grace if is_whole else min(grace, TEARDOWN_GRACE)


def _end(run: Run, verdict: Verdict) -> None:
    """Have a run start again where its configuration asks for that, or send it to its end."""
    config = RunConfig.from_row(run.config)
    if is_restarted(config, verdict, run.restarts) and requeue(
        run,
        RequeueReason.RESTART,
        message=f"{verdict.message} Restart {run.restarts + 1} of {config.max_restarts}.",
        end_reason=verdict.reason,
        process=verdict.process,
        exit_code=verdict.exit_code,
    ):
        return
    finalize(
        run,
        verdict.reason,
        message=verdict.message,
        process=verdict.process,
        exit_code=verdict.exit_code,
    )


def _is_former_attempt_gone(run: Run) -> bool:
    group = latest_attempt(run)
    return group is None or group.removed_at is not None


def _group_of(run: Run) -> ProcessGroup:
    group = latest_attempt(run)
    if group is None:
        raise BackendError(f"Run {run.number} is {run.status} without any processes.")
    return group
