"""What runners report of their processes. Each report may come twice and is kept once."""

from django.db import transaction
from django.utils import timezone

from runner.constants import STOPPED
from runs.events import ProcessExited, nudge_on_commit, record
from runs.models import Process, ProcessGroup
from runs.states import ProcessState
from workspace.compute.program_text import clean_text
from workspace.platform import wakeup

MAX_SHOWN_REASON = 200


def process_ready(process: Process, *, node: str) -> bool:
    """Record that a process waits at the barrier; return whether the barrier is open.

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
        if group.barrier_opened_at is None and not _still_missing(group):
            group.barrier_opened_at = timezone.now()
            group.save(update_fields=["barrier_opened_at"])
            transaction.on_commit(wakeup.send)
    return group.barrier_opened_at is not None


def process_started(process: Process) -> None:
    with transaction.atomic():
        started = Process.objects.filter(
            pk=process.pk, state__in=[ProcessState.CREATED, ProcessState.READY]
        ).update(state=ProcessState.RUNNING, started_at=timezone.now())
        if started:
            _tell(process.group, process.name)
            transaction.on_commit(wakeup.send)


def process_exited(
    process: Process,
    *,
    exit_code: int,
    reason: str,
    out_of_memory: bool,
    was_stopped: bool = False,
) -> None:
    """Record how a process's program ended; the first report counts.

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
                exit_reason=clean_text(reason, MAX_SHOWN_REASON),
                out_of_memory=out_of_memory,
                exited_at=timezone.now(),
            )
        )
        if not ended:
            return
        run = process.group.run
        if run is not None:
            event = ProcessExited(process.name, exit_code, reason, process.group.attempt)
            record(run, event)
        _tell(process.group, process.name)
        transaction.on_commit(wakeup.send)


def process_collected(process: Process) -> None:
    """Record that the log and files of a process are stored completely."""
    with transaction.atomic():
        Process.objects.filter(pk=process.pk, collected_at=None).update(collected_at=timezone.now())
        transaction.on_commit(wakeup.send)


def _still_missing(group: ProcessGroup) -> bool:
    return Process.objects.filter(group=group, state=ProcessState.CREATED).exists()


def _tell(group: ProcessGroup, process: str) -> None:
    nudge_on_commit(group.channel, "process", process)
