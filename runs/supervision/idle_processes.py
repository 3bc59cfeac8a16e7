"""What is known of processes that do nothing: facts soon, long before a run counts as hung."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Avg, Max

from runs.files.folders import files_below, logs_folder
from runs.logs.log_file import log_of
from runs.logs.news import WAITS_FOR_TASK
from runs.models import Process, ProcessGroup, Run, RunFile, UsageSample
from runs.selectors import latest_attempt
from runs.states import ProcessState, RunStatus
from runs.supervision.log_activity import LogActivity, log_activity
from workspace.platform.clock import age_of

BUSY_CORES = 0.05
HEARD_WITHIN = timedelta(seconds=30)
IDLE_AFTER = timedelta(minutes=2)
# A session that waits prints a line every ten seconds.
WAITS_AFTER = timedelta(seconds=45)
STILL_PRINTS = timedelta(seconds=30)
LINES_READ = 10
WAIT_REMEDY = (
    "Set device_filters in each session's ConfigProto to its own worker and the parameter servers,"
    " or let all workers end together."
)


@dataclass(frozen=True)
class IdleProcess:
    """A process that does nothing: since when, its last signs of life, and for whom it waits.

    `cores` is what it used on average since all processes are idle; `waits_for` a sentence, or
    nothing.
    """

    name: str
    idle_since: datetime
    last_output_at: datetime | None
    last_file_at: datetime | None
    cores: float
    last_line: str
    waits_for: str


def idle_processes(run: Run) -> list[IdleProcess]:
    """Return the processes of a run if all that are alive are idle, else those that wait in vain.

    One whose runner is not heard from may do anything, so nothing is told then.
    """
    group = latest_attempt(run) if run.status == RunStatus.RUNNING else None
    if group is None:
        return []
    processes = list(group.processes.all())
    alive = [process for process in processes if process.state == ProcessState.RUNNING]
    if not alive or not all(_is_heard(process) for process in alive):
        return []
    found = _idle(group, alive, processes)
    if all(age_of(process.idle_since) >= IDLE_AFTER for process in found):
        return found
    return [process for process in found if process.waits_for]


def waits_in_vain(run: Run) -> list[IdleProcess]:
    """Return the processes of a run that wait for one that has ended."""
    return [process for process in idle_processes(run) if process.waits_for]


def last_files(group: ProcessGroup) -> dict[int, datetime]:
    """Return when a file of each process was last stored, by the process's id."""
    stored = RunFile.objects.filter(process__group=group).values_list("process")
    found = dict(stored.annotate(at=Max("stored_at")))
    for process in group.processes.all():
        for _, _, status in files_below(logs_folder(group.label, process.name)):
            at = datetime.fromtimestamp(status.st_mtime, UTC)
            found[process.pk] = max(found.get(process.pk, at), at)
    return found


def last_busy(group: ProcessGroup) -> dict[int, datetime]:
    """Return when each process last used its CPU, by the process's id."""
    samples = UsageSample.objects.filter(process__group=group, cpus__gte=BUSY_CORES)
    return dict(samples.values_list("process").annotate(at=Max("at")))


def _is_heard(process: Process) -> bool:
    return process.heartbeat_at is not None and age_of(process.heartbeat_at) < HEARD_WITHIN


def _idle(
    group: ProcessGroup, alive: Sequence[Process], processes: Sequence[Process]
) -> list[IdleProcess]:
    logs, files, busy = log_activity(group.label), last_files(group), last_busy(group)
    since: dict[int, datetime] = {}
    for process in alive:
        log = logs.get(process.name)
        signs = [log.last_news if log else None, files.get(process.pk), busy.get(process.pk)]
        start = process.started_at or group.created_at
        since[process.pk] = max(sign for sign in (start, *signs) if sign is not None)
    samples = UsageSample.objects.filter(process__group=group, at__gt=max(since.values()))
    cores = dict(samples.values_list("process").annotate(mean=Avg("cpus")))
    ended = {process.name: process for process in processes if process.exited_at is not None}
    found = []
    for process in alive:
        log = logs.get(process.name)
        lines = log_of(group.label, process.name).tail(LINES_READ)
        found.append(
            IdleProcess(
                name=process.name,
                idle_since=since[process.pk],
                last_output_at=log.last_news if log else None,
                last_file_at=files.get(process.pk),
                cores=cores.get(process.pk) or 0.0,
                last_line=next((line for line in reversed(lines) if line.strip()), ""),
                waits_for=next(_waits(process, log, lines, ended), ""),
            )
        )
    return found


def _waits(
    process: Process, log: LogActivity | None, lines: Sequence[str], ended: dict[str, Process]
) -> Iterator[str]:
    """Say for whom a process waits that has ended, by the lines that its session prints."""
    if log is None or log.last_news is None:
        return
    if age_of(log.last_news) < WAITS_AFTER or age_of(log.last_growth) > STILL_PRINTS:
        return
    for line in reversed(lines):
        found = WAITS_FOR_TASK.search(line.encode())
        if not found:
            return
        peer = ended.get(f"{found[1].decode()}-{found[2].decode()}")
        if peer and peer.exited_at:
            yield (
                f"{process.name} waits for {peer.name}, which ended at"
                f" {peer.exited_at:%Y-%m-%d %H:%M:%S} UTC with exit code {peer.exit_code}."
            )
