"""The life of one replica: start, health checks, stop, teardown."""

import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from deploy.models import Replica, ReplicaState, Revision
from deploy.rollout.revisions import numbers_that_answer
from deploy.supervision.health_checks import Health, HealthCheck, HealthChecker
from deploy.supervision.load_failure import describe_load_failure, find_load_failure
from deploy.supervision.service_state import CRASH_WINDOW, MAX_CONSECUTIVE_CRASHES, restart_backoff
from deploy.supervision.smoke_test import SmokeTestResult, smoke_test_for
from runs.events import group_of_service, nudge_on_commit
from runs.launch.plan import plan_of
from runs.logs.log_file import log_of
from runs.models import ProcessGroup
from runs.states import ProcessState
from runs.supervision.decisions import ProcessView
from runs.supervision.process_status import (
    LiveGroup,
    live_groups,
    process_views,
    reported_views,
)
from runs.supervision.teardown import Teardown
from workspace.compute.base import BackendError
from workspace.platform.clock import Pace, age_of
from workspace.targets.reachability import Reachability

LOOK_EVERY_SECONDS = 1.0
ASK_STARTING_EVERY = 0.2
ASK_EVERY = 2.0
FAILURE_THRESHOLD = 3
START_WITHIN = timedelta(minutes=5)
UNHEALTHY_AT_MOST = timedelta(seconds=60)
# Longer than a gateway may use the addresses that it read last.
DRAIN = timedelta(seconds=2)
WITH_PROCESS = (ReplicaState.STARTING, ReplicaState.READY, ReplicaState.UNHEALTHY)
LINES_READ = 200
LINES_SHOWN = 30
# How a process exited is known a moment after a connection to it broke.
END_SEEN_WITHIN_SECONDS = 5.0


class ReplicaSupervisor:
    """Looks after replicas, with one health check at most under way for each."""

    def __init__(self, reachability: Reachability) -> None:
        self._reach = reachability
        self._probes = HealthChecker()
        self._looks = Pace(LOOK_EVERY_SECONDS)
        self._failed_checks: dict[int, int] = {}
        self._teardown = Teardown()
        self._live: dict[int, LiveGroup] = {}

    def look(self) -> None:
        """Look at all replicas that have started; those that only go on need no look of their own.

        The others are looked at when they are advanced.
        """
        started = ProcessGroup.objects.filter(
            replica__state__in=WITH_PROCESS, barrier_opened_at__isnull=False, removed_at=None
        )
        self._live = live_groups(started, self._reach, self._looks.is_due)

    def start(self, replica: Replica) -> None:
        """Start a new replica, or what an interrupted start left out."""
        group = _group_of(replica)
        try:
            self._reach.backend(group.target).start(plan_of(group))
        except BackendError as error:
            if error.retryable:
                raise
            self._fail(replica, f"could not be started: {error}")

    def advance(self, replica: Replica) -> None:
        """Advance one living replica as far as it can go now."""
        if replica.state == ReplicaState.STOPPING:
            self._take_down(replica)
            return
        view = self._look_at(replica, _group_of(replica))
        ending = self._exit_reason(replica, view) if view else ""
        if ending and self._probes.is_smoke_testing(replica.pk):
            self._fail(replica, f"crashed during its smoke test: it {ending}", again=False)
        elif ending:
            self._fail(replica, ending)
        else:
            self._check_health(replica)

    def stop(self, replica: Replica) -> None:
        """Send no more requests to a replica, and take it down a moment later."""
        _write(replica, state=ReplicaState.STOPPING, stopping_at=timezone.now(), reason="")

    def _fail(self, replica: Replica, reason: str, *, again: bool = True) -> None:
        """Record that a replica failed; its log is read once it is complete.

        Without `again`, a revision that never served gets no other replica.
        """
        with transaction.atomic():
            _write(
                replica,
                state=ReplicaState.STOPPING,
                stopping_at=timezone.now(),
                has_failed=True,
                reason=reason,
            )
            if not again:
                _start_no_other(replica)

    # Liveness

    def _look_at(self, replica: Replica, group: ProcessGroup) -> ProcessView | None:
        """Return how a replica's process is, unless it is too soon to look again."""
        live = self._live.pop(group.pk, None)
        if live is not None:
            [view] = live.processes
            return view
        if group.barrier_opened_at is not None:
            self._looks.forget(group.label)
        if not self._looks.is_due(group.label):
            return None
        if group.barrier_opened_at is None:
            self.start(replica)
        [view] = reported_views(group)
        if view.state != ProcessState.EXITED:
            [view] = process_views(group, self._reach.backend(group.target))
        return view

    def _exit_reason(self, replica: Replica, view: ProcessView) -> str:
        """Return how a replica's process exited, or nothing while it runs."""
        if view.state == ProcessState.EXITED:
            return _exit_in_words(view)
        if view.is_alive:
            _record_published_ports(replica, view.published_ports)
            return ""
        return f"disappeared: {view.backend_reason or 'no exit code is known'}"

    # Health

    def _check_health(self, replica: Replica) -> None:
        is_starting = replica.state == ReplicaState.STARTING
        if is_starting and age_of(replica.created_at) > START_WITHIN:
            minutes = START_WITHIN.total_seconds() / 60
            self._fail(replica, f"was not ready within {minutes:.0f} minutes")
            return
        if replica.unhealthy_at and age_of(replica.unhealthy_at) > UNHEALTHY_AT_MOST:
            self._fail(replica, f"{replica.reason}, for {UNHEALTHY_AT_MOST.total_seconds():.0f} s")
            return
        if not replica.address:  # not seen yet
            return
        if self._probes.is_smoke_testing(replica.pk):
            self._run_smoke_test(replica)
            return
        answer = self._probes.ask(
            replica.pk,
            replica.address,
            replica.revision.model_version.model.name,
            every=ASK_STARTING_EVERY if is_starting else ASK_EVERY,
        )
        if answer is not None:
            self._note(replica, answer)

    def _note(self, replica: Replica, answer: HealthCheck) -> None:
        if answer.health == Health.READY:
            self._failed_checks.pop(replica.pk, None)
            if replica.ready_at is None:
                self._run_smoke_test(replica)
            elif replica.state != ReplicaState.READY:
                _write(replica, state=ReplicaState.READY, unhealthy_at=None, reason="")
        elif answer.health == Health.CANNOT_LOAD:
            findings = replica.revision.model_version.scan
            self._fail(replica, describe_load_failure(answer.message, findings), again=False)
        elif replica.state == ReplicaState.READY:
            silences = self._failed_checks.get(replica.pk, 0) + 1
            self._failed_checks[replica.pk] = silences
            if silences >= FAILURE_THRESHOLD:
                _write(
                    replica,
                    state=ReplicaState.UNHEALTHY,
                    unhealthy_at=timezone.now(),
                    reason="is not ready" if answer.health == Health.LOADING else answer.message,
                )

    def _run_smoke_test(self, replica: Replica) -> None:
        """Run a replica's smoke test before it gets any other request."""
        version = replica.revision.model_version
        verdict = self._probes.smoke_test(
            replica.pk,
            replica.address,
            version.model.name,
            smoke_test_for(version, replica.revision.service.smoke_test_request),
            replica.grpc_address,
        )
        if verdict is None:
            return
        if verdict.refusal and (others := numbers_that_answer(replica.revision)):
            self._fail(replica, _refusal_in_words(verdict.refusal, max(others)), again=False)
        elif not verdict.failure:
            self._probes.forget_smoke_test(replica.pk)
            _note_result(replica.revision_id, verdict)
            _write(replica, state=ReplicaState.READY, ready_at=timezone.now(), reason="")
        elif not verdict.lost_connection or time.monotonic() - verdict.at > END_SEEN_WITHIN_SECONDS:
            words = f"failed its smoke test: {verdict.failure}"
            self._fail(replica, words, again=False)

    # Teardown

    def _take_down(self, replica: Replica) -> None:
        group = _group_of(replica)
        is_used = replica.ready_at is not None and not replica.has_failed
        if is_used and replica.stopping_at and age_of(replica.stopping_at) < DRAIN:
            return
        if not self._looks.is_due(group.label) and group.stop_requested_at:
            return
        grace = timedelta(0) if replica.has_failed else timedelta(seconds=group.grace_seconds)
        if group.removed_at is None:
            backend = self._reach.backend(group.target)
            if not self._teardown.stop_and_collect(group, backend, grace):
                return
        self._finalize(replica, group)

    def _finalize(self, replica: Replica, group: ProcessGroup) -> None:
        with transaction.atomic():
            reason = replica.reason
            if replica.has_failed:
                last = log_of(group.label, replica.name).tail(LINES_READ)
                failure = None if replica.ready_at else find_load_failure(last)
                if failure is not None:
                    findings = replica.revision.model_version.scan
                    reason = describe_load_failure(failure.words, findings)
                    if not failure.may_pass:
                        _start_no_other(replica)
                reason = "\n".join([reason, *last[-LINES_SHOWN:]])
                _count_death(replica, reason)
            _write(replica, state=ReplicaState.ENDED, ended_at=timezone.now(), reason=reason)
        self._probes.forget(replica.pk)
        self._failed_checks.pop(replica.pk, None)
        self._looks.forget(group.label)
        self._teardown.forget(group)


def _group_of(replica: Replica) -> ProcessGroup:
    if replica.group is None:
        raise BackendError(f"Replica {replica.name} has lost its process group.")
    return replica.group


def _write(replica: Replica, **fields: Any) -> None:
    with transaction.atomic():
        for name, value in fields.items():
            setattr(replica, name, value)
        replica.save(update_fields=list(fields))
        nudge_on_commit(group_of_service(replica.revision.service_id), "event")


def _start_no_other(replica: Replica) -> None:
    """Have the death of a replica be the last one of a revision that never served."""
    Revision.objects.filter(pk=replica.revision_id, verified_at=None).update(
        consecutive_crashes=MAX_CONSECUTIVE_CRASHES
    )


def _record_published_ports(replica: Replica, addresses: tuple[str, ...]) -> None:
    """Store where a container's ports, REST before gRPC, can be reached."""
    if addresses and addresses != (replica.address, replica.grpc_address):
        address, grpc_address = addresses
        _write(replica, address=address, grpc_address=grpc_address)


def _note_result(revision_id: int, result: SmokeTestResult) -> None:
    """Keep what a smoke test that was passed tells of its revision."""
    revision = Revision.objects.get(pk=revision_id)
    if result.notice and result.notice not in revision.notice:
        revision.notice = f"{revision.notice} {result.notice}".strip()
    revision.has_answered |= result.was_answered
    revision.save(update_fields=["notice", "has_answered"])


def _refusal_in_words(refusal: str, serving: int) -> str:
    return (
        f"failed its smoke test: it rejected the request generated from its signature ({refusal}),"
        f" while revision {serving}, which serves, answered the one generated from its own. Record"
        " a request that this version accepts in the service's settings, and deploy it again."
    )


def _exit_in_words(view: ProcessView) -> str:
    if view.out_of_memory:
        return f"ran out of memory: it {view.reason}. Give the service more"
    return view.reason or f"ended with exit code {view.exit_code}"


def _count_death(replica: Replica, reason: str) -> None:
    """Count a crash of its revision, and fail a revision whose replicas all crash quickly."""
    revision = Revision.objects.select_for_update().get(pk=replica.revision_id)
    ready_at = replica.ready_at
    lived = age_of(ready_at) if ready_at else timedelta(0)
    revision.consecutive_crashes = revision.consecutive_crashes + 1 if lived < CRASH_WINDOW else 1
    revision.retry_at = timezone.now() + restart_backoff(revision.consecutive_crashes)
    if revision.consecutive_crashes >= MAX_CONSECUTIVE_CRASHES:
        revision.failure = f"{replica.name} {reason}"
    revision.save(update_fields=["consecutive_crashes", "retry_at", "failure"])
