"""Detect hung runs: alive, but without new log output, file writes or CPU use for too long."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from runs.events import EventData, RunHung, RunProgressResumed, record
from runs.logs.log_file import log_of
from runs.logs.sources import ranks_of
from runs.models import Process, ProcessGroup, Run
from runs.selectors import latest_attempt
from runs.states import EndReason
from runs.supervision.decisions import EndVerdict
from runs.supervision.idle_processes import (
    HEARD_WITHIN,
    WAIT_REMEDY,
    last_busy,
    last_files,
    waits_in_vain,
)
from runs.supervision.log_activity import log_activity
from workspace.platform.clock import age_of

SAMPLE_EVERY_SECONDS = 5
SAMPLES_ENOUGH = 500
MOST_NAMED = 3


class HangDetector:
    """Judges running runs. What it remembers only saves asking the database for it again."""

    def __init__(self) -> None:
        self._progress: dict[str, datetime] = {}

    def check(self, run: Run, group: ProcessGroup) -> EndVerdict | None:
        """Record that a running run makes no progress, or makes progress again.

        Returns a verdict where the target fails hung runs.
        """
        allowed = timedelta(seconds=run.compute_target.hang_timeout_seconds)
        last_progress = self._last_progress(run, group, allowed)
        if age_of(last_progress) <= allowed or not _has_full_monitoring(group, allowed):
            if run.hung_since is not None and last_progress > run.hung_since:
                _set(run, None, RunProgressResumed(since=run.hung_since.isoformat()))
            return None
        if run.hung_since is None:
            hung = RunHung(since=last_progress.isoformat(), lines=dict(last_lines(run)))
            _set(run, last_progress, hung)
        if not run.compute_target.fail_hung_runs:
            return None
        message = (
            "No process printed anything new, stored a file or used its CPU for more than"
            f" {run.compute_target.hang_timeout_seconds} s, since"
            f" {last_progress:%Y-%m-%d %H:%M:%S} UTC."
        )
        waiting = waits_in_vain(run)
        if not waiting:
            return EndVerdict(EndReason.NO_PROGRESS, message)
        told = " ".join(process.waits_for for process in waiting[:MOST_NAMED])
        return EndVerdict(
            EndReason.NO_PROGRESS, f"{message} {told} {WAIT_REMEDY}", process=waiting[0].name
        )

    def forget(self, group: ProcessGroup) -> None:
        self._progress.pop(group.label, None)

    def _last_progress(self, run: Run, group: ProcessGroup, allowed: timedelta) -> datetime:
        """Return when a group last wrote something new or computed, or when it started.

        The database is asked only where nothing else shows progress within the time allowed.
        """
        signs = [
            group.created_at,
            group.barrier_opened_at,
            run.running_at,
            self._progress.get(group.label),
            *(log.last_news for log in log_activity(group.label, keep=True).values()),
        ]
        latest = max(sign for sign in signs if sign is not None)
        if run.hung_since is not None or age_of(latest) > allowed:
            latest = max([latest, *last_files(group).values(), *last_busy(group).values()])
            self._progress[group.label] = latest
        return latest


def last_lines(run: Run) -> Iterator[tuple[str, str]]:
    """Yield the last line that each process, and each rank of an MPI run, printed."""
    group = latest_attempt(run)
    if group is None:
        return
    for name in [*(process.name for process in group.processes.all()), *ranks_of(run)]:
        lines = log_of(group.label, name).tail(1)
        yield name, lines[0] if lines else ""


def _has_full_monitoring(group: ProcessGroup, allowed: timedelta) -> bool:
    """Return whether every process reported all the time, so that no sign of progress was missed.

    While this server is away, runners keep their reports to themselves.
    """
    since = timezone.now() - allowed
    enough = min(allowed.total_seconds() / SAMPLE_EVERY_SECONDS / 2, SAMPLES_ENOUGH)
    return all(
        process.heartbeat_at is not None
        and age_of(process.heartbeat_at) < HEARD_WITHIN
        and process.usage.filter(at__gt=since).count() >= enough
        for process in Process.objects.filter(group=group, exited_at=None)
    )


def _set(run: Run, since: datetime | None, event: EventData) -> None:
    with transaction.atomic():
        record(run, event)
        Run.objects.filter(pk=run.pk).update(hung_since=since)
    run.hung_since = since
