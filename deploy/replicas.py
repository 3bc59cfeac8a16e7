"""The life of one replica: started, watched, stopped, and what it leaves tidied away."""

import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from deploy.decisions import MOST_QUICK_DEATHS, QUICK, pause_after
from deploy.golden import golden_for
from deploy.models import Replica, ReplicaState, Revision
from deploy.probes import Answer, Health, Probes
from runs.events import group_of_service, nudge_on_commit
from runs.launch import plan_of
from runs.logs import log_of
from runs.models import Process, ProcessGroup
from runs.states import ProcessState
from workspace.compute.base import Backend, BackendError, Sighting, SightingState
from workspace.reach import Reach

LOOK_EVERY_SECONDS = 1.0
ASK_STARTING_EVERY = 0.2
ASK_EVERY = 2.0
SILENT_AT_MOST = 3
START_WITHIN = timedelta(minutes=5)
UNHEALTHY_AT_MOST = timedelta(seconds=60)
# Longer than a gateway may go on with the addresses it read last.
DRAIN = timedelta(seconds=2)
KILL_MARGIN = timedelta(seconds=2)
LINES_SHOWN = 30
# What a process did, when a connection to it broke, is known a moment later.
END_SEEN_WITHIN_SECONDS = 5.0


class ReplicaKeeper:
    """Looks after replicas, with one health check at most under way for each."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._probes = Probes()
        self._looked_at: dict[str, float] = {}
        self._silences: dict[int, int] = {}

    def start(self, replica: Replica) -> None:
        """Start a new replica, or what an interrupted start left out."""
        group = _group_of(replica)
        try:
            self._reach.backend(group.target).start(plan_of(group))
        except BackendError as error:
            if error.retryable:
                raise
            self._fail(replica, f"could not be started: {error}")

    def look_after(self, replica: Replica) -> None:
        """Take one living replica as far as it can go now."""
        if replica.state == ReplicaState.STOPPING:
            self._take_down(replica)
            return
        group = _group_of(replica)
        if self._is_due(group.label):
            if group.go_at is None:
                self.start(replica)
            ending = self._ending_of(replica, group)
            if ending and self._probes.is_trying(replica.pk):
                self._fail(replica, f"ended over its golden request: it {ending}", again=False)
                return
            if ending:
                self._fail(replica, ending)
                return
        self._check_health(replica)

    def stop(self, replica: Replica) -> None:
        """Send no more requests to a replica, and take it down a moment later."""
        _write(replica, state=ReplicaState.STOPPING, stopping_at=timezone.now(), reason="")

    def _fail(self, replica: Replica, reason: str, *, again: bool = True) -> None:
        """Note that a replica ended by itself; its log is read once it is all there.

        A revision that never served gets no other one if that would fail the same way.
        """
        _write(
            replica,
            state=ReplicaState.STOPPING,
            stopping_at=timezone.now(),
            has_failed=True,
            reason=reason,
        )
        if not again:
            Revision.objects.filter(pk=replica.revision_id, proven_at=None).update(
                quick_deaths=MOST_QUICK_DEATHS
            )

    def _is_due(self, label: str) -> bool:
        now = time.monotonic()
        if now - self._looked_at.get(label, float("-inf")) < LOOK_EVERY_SECONDS:
            return False
        self._looked_at[label] = now
        return True

    # Whether it lives

    def _ending_of(self, replica: Replica, group: ProcessGroup) -> str:
        """Say how a replica's process ended, or nothing while it lives."""
        process = group.processes.get()
        if process.state == ProcessState.EXITED:
            return _exit_in_words(process)
        backend = self._reach.backend(group.target)
        seen = {sighting.name: sighting for sighting in backend.observe(group.label)}
        ours = seen.get(process.name)
        if ours is not None and ours.state == SightingState.ALIVE:
            _note_doors(replica, ours)
            return ""
        if backend.salvage(group.label, [process.name]):
            return ""
        process.refresh_from_db()
        if process.state == ProcessState.EXITED:
            return _exit_in_words(process)
        why = ours.reason if ours is not None and ours.reason else "without a word of how it ended"
        return f"disappeared: its process is gone, {why}"

    # Whether it answers

    def _check_health(self, replica: Replica) -> None:
        is_starting = replica.state == ReplicaState.STARTING
        now = timezone.now()
        if is_starting and now - replica.created_at > START_WITHIN:
            minutes = START_WITHIN.total_seconds() / 60
            self._fail(replica, f"was not ready within {minutes:.0f} minutes")
            return
        if replica.unhealthy_at and now - replica.unhealthy_at > UNHEALTHY_AT_MOST:
            self._fail(replica, f"{replica.reason}, for {UNHEALTHY_AT_MOST.total_seconds():.0f} s")
            return
        if not replica.address:  # not seen yet
            return
        if self._probes.is_trying(replica.pk):
            self._try_out(replica)
            return
        answer = self._probes.ask(
            replica.pk,
            replica.address,
            replica.revision.model_version.model.name,
            every=ASK_STARTING_EVERY if is_starting else ASK_EVERY,
        )
        if answer is not None:
            self._note(replica, answer)

    def _note(self, replica: Replica, answer: Answer) -> None:
        if answer.health == Health.READY:
            self._silences.pop(replica.pk, None)
            if replica.ready_at is None:
                self._try_out(replica)
            elif replica.state != ReplicaState.READY:
                _write(replica, state=ReplicaState.READY, unhealthy_at=None, reason="")
        elif answer.health == Health.CANNOT_LOAD:
            self._fail(replica, f"could not load the model: {answer.message}", again=False)
        elif replica.state == ReplicaState.READY:
            silences = self._silences.get(replica.pk, 0) + 1
            self._silences[replica.pk] = silences
            if silences >= SILENT_AT_MOST:
                _write(
                    replica,
                    state=ReplicaState.UNHEALTHY,
                    unhealthy_at=timezone.now(),
                    reason="is not ready" if answer.health == Health.LOADING else answer.message,
                )

    def _try_out(self, replica: Replica) -> None:
        """Have a replica answer its golden request before it is sent any other."""
        version = replica.revision.model_version
        verdict = self._probes.try_out(
            replica.pk,
            replica.address,
            version.model.name,
            golden_for(version, replica.revision.service.golden_request),
        )
        if verdict is None:
            return
        if not verdict.failure:
            self._probes.end_trial(replica.pk)
            _add_notice(replica.revision_id, verdict.notice)
            _write(replica, state=ReplicaState.READY, ready_at=timezone.now(), reason="")
        elif not verdict.was_cut_off or time.monotonic() - verdict.at > END_SEEN_WITHIN_SECONDS:
            words = f"did not pass its golden request: {verdict.failure}"
            self._fail(replica, words, again=False)

    # Its end

    def _take_down(self, replica: Replica) -> None:
        group = _group_of(replica)
        asked_at = replica.stopping_at or timezone.now()
        if not replica.has_failed and timezone.now() - asked_at < DRAIN and replica.ready_at:
            return
        if not self._is_due(group.label) and group.stop_requested_at:
            return
        if group.removed_at is None:
            backend = self._reach.backend(group.target)
            if not _is_torn_down(group, backend, has_failed=replica.has_failed):
                return
            backend.remove(group.label)
        self._bury(replica, group)

    def _bury(self, replica: Replica, group: ProcessGroup) -> None:
        with transaction.atomic():
            now = timezone.now()
            ProcessGroup.objects.filter(pk=group.pk).update(is_fenced=True, removed_at=now)
            reason = replica.reason
            if replica.has_failed:
                last = log_of(group.label, replica.name).tail(LINES_SHOWN)
                reason = "\n".join([reason, *last])
                _count_death(replica, reason)
            _write(replica, state=ReplicaState.ENDED, ended_at=now, reason=reason)
        self._probes.forget(replica.pk)
        self._silences.pop(replica.pk, None)
        self._looked_at.pop(group.label, None)


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


def _note_doors(replica: Replica, sighting: Sighting) -> None:
    """Note where a container's ports, REST before gRPC, were found to be reached."""
    if sighting.doors and sighting.doors != (replica.address, replica.grpc_address):
        address, grpc_address = sighting.doors
        _write(replica, address=address, grpc_address=grpc_address)


def _add_notice(revision_id: int, notice: str) -> None:
    revision = Revision.objects.get(pk=revision_id)
    if notice and notice not in revision.notice:
        revision.notice = f"{revision.notice} {notice}".strip()
        revision.save(update_fields=["notice"])


def _exit_in_words(process: Process) -> str:
    if process.out_of_memory:
        return f"ran out of memory: it {process.exit_reason}. Give the service more"
    return process.exit_reason or f"ended with exit code {process.exit_code}"


def _count_death(replica: Replica, reason: str) -> None:
    """Count a death against its revision, and give up on one whose replicas all die quickly."""
    revision = Revision.objects.select_for_update().get(pk=replica.revision_id)
    ready_at = replica.ready_at
    lived = timezone.now() - ready_at if ready_at else timedelta(0)
    revision.quick_deaths = revision.quick_deaths + 1 if lived < QUICK else 1
    revision.retry_at = timezone.now() + pause_after(revision.quick_deaths)
    if revision.quick_deaths >= MOST_QUICK_DEATHS:
        revision.failure = f"{replica.name} {reason}"
    revision.save(update_fields=["quick_deaths", "retry_at", "failure"])


def _is_torn_down(group: ProcessGroup, backend: Backend, *, has_failed: bool) -> bool:
    """Bring a group to its end: ask, then kill, then see that its log is stored."""
    grace = timedelta(0) if has_failed else timedelta(seconds=group.grace_seconds)
    if group.stop_requested_at is None:
        group.stop_requested_at = timezone.now()
        group.save(update_fields=["stop_requested_at"])
        backend.stop(group.label, grace)
    process = group.processes.get()
    is_alive = any(
        sighting.state == SightingState.ALIVE for sighting in backend.observe(group.label)
    )
    if not is_alive:
        return process.collected_at is not None or not backend.salvage(group.label, [process.name])
    if timezone.now() - group.stop_requested_at > grace + KILL_MARGIN:
        backend.kill(group.label)
    return False
