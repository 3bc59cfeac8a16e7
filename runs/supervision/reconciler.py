"""Look, decide, act: what brings every unfinished run one step nearer to its end.

A tick may be cut short at any line: each step is found again from the database and the backend by
the next tick, and doing it twice does no harm.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from runs.config import RunConfig
from runs.launch import plan
from runs.lifecycle import StaleRun, conclude, finalize, requeue, return_to_queue, transition
from runs.metrics.ingestion import (
    are_metrics_read,
    request_rest_of_metrics,
    request_unread_metrics_again,
)
from runs.models import ProcessGroup, Run
from runs.scheduling.admission import Admission
from runs.selectors import latest_attempt
from runs.states import (
    UNFINISHED,
    WITH_PROCESSES,
    EndReason,
    ProcessState,
    RequeueReason,
    RunStatus,
)
from runs.supervision import teardown, unreachable
from runs.supervision.decisions import (
    EndVerdict,
    ProcessView,
    end_verdict,
    listed,
    needs_status_check,
    should_restart,
    start_timeout_verdict,
)
from runs.supervision.failure_summary import LINES_SHOWN, failure_summary
from runs.supervision.hang_detection import HangDetector
from runs.supervision.process_status import (
    LiveGroup,
    live_groups,
    process_views,
    reported_views,
)
from runs.supervision.teardown import Teardown
from workspace.compute.base import Backend, BackendError, TargetUnreachable
from workspace.environments.services import enqueue_build
from workspace.models import EnvironmentState
from workspace.platform.clock import Pace, age_of, steady, steady_now
from workspace.platform.errors import DomainError
from workspace.targets.reachability import Reachability

TEARDOWN_GRACE = timedelta(seconds=5)
OBSERVE_EVERY_SECONDS = 1.0
HANG_CHECK_SECONDS = 10.0
UNREAD_METRICS_SECONDS = 60.0
REAPPEARED_SECONDS = 30.0
FULL_GRACE = {EndReason.CANCELED, EndReason.TIME_LIMIT}
log = logging.getLogger(__name__)


class RunReconciler:
    """Moves runs along. What it remembers between ticks only saves looking too often."""

    def __init__(self, reachability: Reachability | None = None) -> None:
        self._looks = Pace(OBSERVE_EVERY_SECONDS)
        self._reachability = reachability or Reachability()
        self._admission = Admission(self._reachability)
        self._teardown = Teardown()
        self._hangs = HangDetector()
        self._live: dict[int | None, LiveGroup] = {}

    def tick(self) -> None:
        """Take every unfinished run as far as it can go now; one that trips harms no other."""
        self._reachability.poll()
        teardown.remove_abandoned(self._reachability)
        if self._looks.is_due("reappeared groups", REAPPEARED_SECONDS):
            teardown.remove_reappeared(self._reachability)
        self._live = self._live_attempts()
        unfinished = Run.objects.filter(status__in=UNFINISHED, target__isnull=False).order_by("pk")
        for run in unfinished.exclude(status=RunStatus.QUEUED).select_related("target", "team"):
            self._advance(run)
        self._admit_queued()
        if self._looks.is_due("unread metrics", UNREAD_METRICS_SECONDS):
            request_unread_metrics_again()

    def _live_attempts(self) -> dict[int | None, LiveGroup]:
        """Return the attempts of running runs that only go on, by the runs' ids."""
        running = ProcessGroup.objects.filter(run__status=RunStatus.RUNNING, removed_at=None)
        live = live_groups(running, self._reachability, self._looks.is_due)
        return {attempt.group.run_id: attempt for attempt in live.values()}

    def _advance(self, run: Run) -> None:
        """Take a run as far as it can go; what stops it here keeps no run from its end."""
        for take in (self._take_steps, self._abandon_if_given_up):
            try:
                if take(run):
                    return
            except StaleRun as stale:
                log.info("%s", stale)
                return
            except BackendError as error:
                log.warning("run %s of %s: %s", run.number, run.team.slug, error)
            except Exception:
                log.exception("Reconciling run %s of %s failed", run.number, run.team.slug)

    def _take_steps(self, run: Run) -> bool:
        """Take one step after the other; return whether nothing kept the run from it."""
        steps: dict[str, Callable[[Run], None]] = {
            RunStatus.PREPARING: self._prepare,
            RunStatus.STARTING: self._start,
            RunStatus.RUNNING: self._watch,
            RunStatus.FINALIZING: self._finish,
        }
        try:
            if run.cancel_requested_at and run.status != RunStatus.FINALIZING:
                finalize(run, EndReason.CANCELED, message="Canceled on request.")
            before = None
            while run.status != before and run.status in steps:
                before = run.status
                steps[run.status](run)
        except TargetUnreachable as error:
            self._reachability.mark_unreachable(run.compute_target, error)
            self._handle_unreachable(run)
            return False
        return True

    def _abandon_if_given_up(self, run: Run) -> bool:
        """Leave an attempt that its target keeps from ending: in time, or at once if asked."""
        group = latest_attempt(run)
        is_ending = run.status == RunStatus.FINALIZING or run.requeue_reason
        if group is None or not is_ending:
            return False
        is_canceled = run.cancel_requested_at is not None
        if run.kill_requested_at or self._teardown.is_given_up(group, is_canceled=is_canceled):
            self._abandon(run, group)
        return True

    def _admit_queued(self) -> None:
        queued = list(
            Run.objects.filter(status=RunStatus.QUEUED)
            .select_related("target", "team", "created_by")
            .order_by("pk")
        )
        for run in [run for run in queued if run.cancel_requested_at]:
            self._advance(run)
        waiting = [run for run in queued if not run.cancel_requested_at]
        for run in self._admission.admit(waiting):
            self._advance(run)

    def _prepare(self, run: Run) -> None:
        """Have a run's environment built, and start it; what no later try changes ends it."""
        former = latest_attempt(run)
        if former and former.removed_at is None and not former.is_fenced:
            teardown.abandon(former)
        self._reachability.backend(run.compute_target)
        if former and former.removed_at is None:
            return
        try:
            environment = plan.environment_for(run)
            if environment.state == EnvironmentState.READY:
                plan.start_attempt(run, environment)
                return
        except BackendError:
            raise
        except DomainError as error:
            finalize(run, EndReason.START_FAILED, message=error.message)
            return
        if environment.state == EnvironmentState.FAILED:
            finalize(
                run,
                EndReason.ENVIRONMENT_FAILED,
                message="The environment could not be built.",
                lines=environment.error.splitlines()[-LINES_SHOWN:],
            )
        else:
            enqueue_build(environment)

    def _start(self, run: Run) -> None:
        group = _group_of(run)
        if run.requeue_reason:
            self._requeue(run, group)
            return
        config = RunConfig.from_row(run.config)
        since = steady(run.starting_at or group.created_at)
        backend = self._reachability.backend(group.target)
        try:
            if self._looks.is_due(group.label):
                backend.start(plan.plan_of(group))
        except TargetUnreachable:
            raise
        except BackendError as error:
            if error.retryable and steady_now() - since <= config.start_deadline:
                raise
            _end(run, EndVerdict(EndReason.START_FAILED, str(error)))
            return
        group.refresh_from_db()
        if group.barrier_opened_at is not None:
            transition(run, RunStatus.RUNNING)
            return
        now = steady_now()
        seen = self._process_views(group, backend)
        if start_timeout_verdict(seen, since, config.start_deadline, now):
            seen = process_views(group, backend)  # the target may say why
        verdict = start_timeout_verdict(seen, since, config.start_deadline, now)
        verdict = verdict or end_verdict(config.mode, seen, now)
        if verdict:
            _end(run, verdict)

    def _watch(self, run: Run) -> None:
        live = self._live.pop(run.pk, None)
        group = live.group if live else _group_of(run)
        if run.requeue_reason:
            self._requeue(run, group)
            return
        config = RunConfig.from_row(run.config)
        limit = config.max_run_duration_seconds
        now = steady_now()
        if live:
            seen = live.processes
            unreachable.mark_reachable(run)
        else:
            self._looks.forget(group.label)
            seen = self._process_views_or_reported(run, group)
        verdict = end_verdict(config.mode, seen, now)
        if verdict:
            _end(run, verdict)
        elif limit and run.running_at and age_of(run.running_at) > timedelta(seconds=limit):
            message = f"The run reached its maximum duration of {limit} s."
            _end(run, EndVerdict(EndReason.TIME_LIMIT, message))
        elif self._looks.is_due(f"{group.label} still", _hang_check_interval(run)):
            verdict = self._hangs.check(run, group)
            if verdict:
                _end(run, verdict)

    def _process_views_or_reported(self, run: Run, group: ProcessGroup) -> Sequence[ProcessView]:
        """Look at a run's processes; where the target can't tell, runners may have reported all."""
        try:
            seen = self._process_views(group, self._reachability.backend(group.target))
        except BackendError:
            if teardown.uncollected_of(group):
                raise
            return reported_views(group)
        unreachable.mark_reachable(run)
        return seen

    def _requeue(self, run: Run, group: ProcessGroup) -> None:
        """End a run's attempt and put it back into the queue; one that is done by now has ended."""
        is_preempted = run.requeue_reason == RequeueReason.PREEMPTED
        if group.stop_requested_at is None:
            mode = RunConfig.from_row(run.config).mode
            verdict = end_verdict(mode, reported_views(group), steady_now())
            if verdict and verdict.reason == EndReason.COMPLETED:
                finalize(run, verdict.reason, message=verdict.message, process=verdict.process)
                return
        backend = self._reachability.backend(group.target)
        grace = _grace_of(group, is_whole=is_preempted)
        if self._teardown.stop_and_collect(group, backend, grace):
            self._forget(group)
            request_rest_of_metrics(group)
            return_to_queue(run)

    def _finish(self, run: Run) -> None:
        """Stop what is left, wait until logs and outputs are stored, tidy up, conclude."""
        group = latest_attempt(run)
        if group is None:
            conclude(run)
            return
        backend = self._reachability.backend(group.target)
        grace = _grace_of(group, is_whole=EndReason(run.end_reason) in FULL_GRACE)
        is_canceled = run.cancel_requested_at is not None
        if run.kill_requested_at:
            teardown.remove_at_once(group, backend)
        elif not self._teardown.stop_and_collect(group, backend, grace, is_canceled=is_canceled):
            return
        teardown.remove_checkpoints(run, backend)
        self._conclude(run, group)

    def _conclude(self, run: Run, group: ProcessGroup) -> None:
        """End a run for good; what cannot be read of it then is left out."""
        if not (are_metrics_read(group) or run.kill_requested_at):
            return
        summary = {}
        try:
            summary = failure_summary(run, group)
        except Exception:
            log.exception("The summary of run %s of %s failed", run.number, run.team.slug)
        conclude(run, missing=_missing_of(group), **summary)
        self._forget(group)

    def _handle_unreachable(self, run: Run) -> None:
        """Wait for a run whose target does not answer, for as long as the target allows."""
        group = latest_attempt(run)
        if group is None or run.status not in {*WITH_PROCESSES, RunStatus.FINALIZING}:
            return
        verdict = unreachable.unreachable_verdict(
            run, self._reachability.silent_for(run.compute_target)
        )
        if run.status == RunStatus.FINALIZING:
            if verdict or not teardown.uncollected_of(group):
                self._abandon(run, group)
        elif verdict and run.requeue_reason:
            self._abandon(run, group)
        elif verdict:
            _end(run, verdict)

    def _abandon(self, run: Run, group: ProcessGroup) -> None:
        """Leave an attempt where it is, and end its run or queue it again."""
        teardown.abandon(group)
        if run.status == RunStatus.FINALIZING:
            self._conclude(run, group)
        else:
            self._forget(group)
            request_rest_of_metrics(group)
            return_to_queue(run)

    def _process_views(self, group: ProcessGroup, backend: Backend) -> Sequence[ProcessView]:
        """Join what runners reported with what the backend sees, looking only when it is due."""
        seen = reported_views(group)
        if needs_status_check(seen) or self._looks.is_due(group.label):
            return process_views(group, backend)
        return seen

    def _forget(self, group: ProcessGroup) -> None:
        self._looks.forget(group.label, f"{group.label} still")
        self._teardown.forget(group)
        self._hangs.forget(group)


def _missing_of(group: ProcessGroup) -> str:
    """Say whose logs and outputs are not stored completely, now that no more can come."""
    left = teardown.uncollected_of(group)
    names = [process.name for process in left if process.state != ProcessState.CREATED]
    return f"What {listed(names)} had not sent by then is missing." if names else ""


def _hang_check_interval(run: Run) -> float:
    return min(HANG_CHECK_SECONDS, run.compute_target.hang_timeout_seconds / 4)


def _grace_of(group: ProcessGroup, *, is_whole: bool) -> timedelta:
    grace = timedelta(seconds=group.grace_seconds)
    return grace if is_whole else min(grace, TEARDOWN_GRACE)


def _end(run: Run, verdict: EndVerdict) -> None:
    """Have a run start again where its configuration asks for that, or send it to its end."""
    config = RunConfig.from_row(run.config)
    if should_restart(config, verdict, run.restarts) and requeue(
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


def _group_of(run: Run) -> ProcessGroup:
    group = latest_attempt(run)
    if group is None:
        raise BackendError(f"Run {run.number} is {run.status} without any processes.")
    return group
