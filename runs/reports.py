"""What runners report of their processes. Each report may come twice and is kept once."""

import signal

from django.db import transaction
from django.utils import timezone

from runs.events import nudge_on_commit, record
from runs.models import Process, ProcessGroup
from runs.states import ProcessState
from workspace import bell

STOPPED = 128 + signal.SIGTERM


def process_ready(process: Process, *, node: str) -> bool:
    """Note that a process waits at the barrier; give whether the group may go.

    The last one of a group to come opens the barrier for all. `node` is the name that the process
    sees, which counts only where the queue chose none.
    """
    with transaction.atomic():
        group = ProcessGroup.objects.select_for_update().get(pk=process.group_id)
        came = Process.objects.filter(pk=process.pk, state=ProcessState.CREATED).update(
            state=ProcessState.READY, node=process.node or node, ready_at=timezone.now()
        )
        if came:
            _tell(group, process.name)
        if group.go_at is None and not _still_missing(group):
            group.go_at = timezone.now()
            group.save(update_fields=["go_at"])
            transaction.on_commit(bell.ring)
    return group.go_at is not None


def process_started(process: Process) -> None:
    with transaction.atomic():
        started = Process.objects.filter(
            pk=process.pk, state__in=[ProcessState.CREATED, ProcessState.READY]
        ).update(state=ProcessState.RUNNING, started_at=timezone.now())
        if started:
            _tell(process.group, process.name)
            transaction.on_commit(bell.ring)


def process_exited(
    process: Process,
    *,
    exit_code: int,
    reason: str,
    out_of_memory: bool,
    was_stopped: bool = False,
) -> None:
    """Note how a process's program ended; the first report stands.

    One that `was_stopped` by a signal to its runner which nobody here asked for did not end by
    itself, whatever its exit code: its machine is going down.
    """
    if was_stopped and process.group.stop_requested_at is None:
        exit_code, reason = max(exit_code, STOPPED), "was stopped by its machine (SIGTERM)"
    with transaction.atomic():
        ended = (
            Process.objects.filter(pk=process.pk)
            .exclude(state=ProcessState.EXITED)
            .update(
                state=ProcessState.EXITED,
                exit_code=exit_code,
                exit_reason=reason[:200],
                out_of_memory=out_of_memory,
                exited_at=timezone.now(),
            )
        )
        if not ended:
            return
        run = process.group.run
        if run is not None:
            record(
                run,
                "process.exited",
                process=process.name,
                exit_code=exit_code,
                reason=reason,
                attempt=process.group.attempt,
            )
        _tell(process.group, process.name)
        transaction.on_commit(bell.ring)


def process_collected(process: Process) -> None:
    """Note that the log and files of a process are stored, whole."""
    with transaction.atomic():
        Process.objects.filter(pk=process.pk, collected_at=None).update(collected_at=timezone.now())
        transaction.on_commit(bell.ring)


def _still_missing(group: ProcessGroup) -> bool:
    return Process.objects.filter(group=group, state=ProcessState.CREATED).exists()


def _tell(group: ProcessGroup, process: str) -> None:
    nudge_on_commit(group.channel, "process", process)
