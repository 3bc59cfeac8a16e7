"""The hang doctor: gangs that are alive, and from which no sign of work has come for long."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Max

from runs.decisions import Verdict
from runs.events import record
from runs.files import files_below
from runs.logs import folder_of, log_of
from runs.logs_watched import ranks_of
from runs.models import Process, ProcessGroup, Run, RunFile, UsageSample
from runs.selectors import latest_attempt
from runs.states import EndReason

BUSY_CORES = 0.05
HEARD_WITHIN = timedelta(seconds=30)
SAMPLE_EVERY_SECONDS = 5
SAMPLES_ENOUGH = 500


def examine(run: Run, group: ProcessGroup, now: datetime) -> Verdict | None:
    """Note since when a running run shows no sign of work, or that it does again.

    Gives the verdict where its target ends such runs.
    """
    allowed = timedelta(seconds=run.target.still_after_seconds)
    last_sign = _last_sign(run, group)
    if now - last_sign <= allowed or not _is_well_known(group, now, allowed):
        if run.still_since is not None and last_sign > run.still_since:
            _set(run, None, "run.progresses_again", since=run.still_since.isoformat())
        return None
    if run.still_since is None:
        _set(run, last_sign, "run.still", since=last_sign.isoformat(), lines=dict(last_lines(run)))
    if not run.target.ends_still_runs:
        return None
    return Verdict(
        EndReason.NO_PROGRESS,
        f"No process wrote to a log, stored a file or used its CPU for more than"
        f" {run.target.still_after_seconds} s, since {last_sign:%Y-%m-%d %H:%M:%S} UTC.",
    )


def last_lines(run: Run) -> Iterator[tuple[str, str]]:
    """Give the last line that each process, and each rank of an MPI run, printed."""
    group = latest_attempt(run)
    if group is None:
        return
    for name in [*(process.name for process in group.processes.all()), *ranks_of(run)]:
        lines = log_of(group.label, name).tail(1)
        yield name, lines[0] if lines else ""


def _last_sign(run: Run, group: ProcessGroup) -> datetime:
    """Give when a group last wrote something or computed, or when it started."""
    folder = folder_of(group.label)
    written = [path.stat().st_mtime for path in folder.glob("*.log")]
    written += [status.st_mtime for _, _, status in files_below(folder / "files")]
    busy = UsageSample.objects.filter(process__group=group, cpus__gte=BUSY_CORES)
    signs: list[datetime | None] = [
        group.created_at,
        group.go_at,
        run.running_at,
        RunFile.objects.filter(process__group=group).aggregate(at=Max("stored_at"))["at"],
        busy.aggregate(at=Max("at"))["at"],
        *(datetime.fromtimestamp(at, UTC) for at in written),
    ]
    return max(sign for sign in signs if sign is not None)


def _is_well_known(group: ProcessGroup, now: datetime, allowed: timedelta) -> bool:
    """Say whether every process was heard of all the time, so that no sign can have been missed.

    While this server is away, runners keep what they have to tell.
    """
    enough = min(allowed.total_seconds() / SAMPLE_EVERY_SECONDS / 2, SAMPLES_ENOUGH)
    return all(
        process.heartbeat_at is not None
        and now - process.heartbeat_at < HEARD_WITHIN
        and process.usage.filter(at__gt=now - allowed).count() >= enough
        for process in Process.objects.filter(group=group, exited_at=None)
    )


def _set(run: Run, since: datetime | None, event: str, /, **data: object) -> None:
    with transaction.atomic():
        record(run, event, **data)
        Run.objects.filter(pk=run.pk).update(still_since=since)
    run.still_since = since
