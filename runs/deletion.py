"""Take away what is left of deleted runs: files, logs, metrics, and then their rows."""

import logging
import shutil
from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Greatest
from django.utils import timezone

from runs.files.folders import attempt_label, run_folder
from runs.logs.log_file import folder_of
from runs.models import (
    LeftOutMetric,
    MetricChunk,
    MetricCursor,
    MetricSeries,
    Process,
    ProcessGroup,
    Run,
    RunEvent,
    RunFile,
    UsageSample,
)
from runs.states import TERMINAL, UNFINISHED
from workspace.audit import audit
from workspace.models import Team
from workspace.platform.background_jobs import enqueue_once
from workspace.platform.broker import JobQueue
from workspace.retention import BATCH, delete_rows

log = logging.getLogger(__name__)
JOB = "runs.deletion.finish_deletion"
ALL_JOB = "runs.deletion.finish_deletions"
JOB_SECONDS = 3600


def enqueue_deletion(run_id: int) -> None:
    """Have a worker take away a run; the daily maintenance does what no worker did."""
    enqueue_once(
        JobQueue.MAINTENANCE,
        JOB,
        run_id,
        job_id=f"delete-run-{run_id}",
        timeout_seconds=JOB_SECONDS,
    )


def delete_runs(keys: Sequence[int], *, team: Team, by: User | None, **why: Any) -> int:
    """Take runs of a team, by their keys, out of sight as `delete_run` does; return how many.

    Those that are not over, and those that another run resumes from, stay.
    """
    over = Run.objects.filter(team=team, deleted_at=None, status__in=TERMINAL)
    resuming = Run.objects.filter(status__in=UNFINISHED).exclude(resumed_from=None)
    free = over.exclude(pk__in=resuming.values("resumed_from"))
    count = 0
    with transaction.atomic():
        for start in range(0, len(keys), BATCH):
            some = free.filter(pk__in=keys[start : start + BATCH])
            count += some.update(deleted_at=timezone.now(), idempotency_key="")
        if count:
            audit(team=team, actor=by, action="run.delete", subject=f"{count} runs", **why)
            transaction.on_commit(enqueue_all_deletions)
    return count


def enqueue_all_deletions() -> None:
    """Have a worker take away all deleted runs."""
    enqueue_once(JobQueue.MAINTENANCE, ALL_JOB, job_id="delete-runs", timeout_seconds=JOB_SECONDS)


def finish_deletions() -> None:
    """Take away all runs that were deleted and are still there."""
    deleted = Run.objects.filter(deleted_at__isnull=False)
    for run_id in list(deleted.values_list("pk", flat=True)):
        try:
            finish_deletion(run_id)
        except OSError as error:
            log.warning("%s", error)


def finish_deletion(run_id: int) -> None:
    """Take away a deleted run. Cut short at any line, the next time does the rest.

    Raises OSError where its files cannot be removed: as long as they are there, the run is.
    """
    run = Run.objects.filter(pk=run_id, deleted_at__isnull=False).first()
    if run is None or run.attempts.filter(removed_at=None).exists():
        return  # processes may be left on a target that does not answer
    attempts = [folder_of(attempt_label(run_id, group.attempt)) for group in run.attempts.all()]
    for folder in (run_folder(run_id), *attempts):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise OSError(f"{folder} of a deleted run cannot be removed.")
    delete_metrics(run.pk)
    for rows in (RunEvent, RunFile):
        delete_rows(rows.objects.filter(run=run))
    delete_rows(UsageSample.objects.filter(process__group__run=run))
    delete_rows(Process.objects.filter(group__run=run))
    delete_rows(ProcessGroup.objects.filter(run=run))
    with transaction.atomic():
        Team.objects.select_for_update().get(pk=run.team_id)
        Team.objects.filter(pk=run.team_id).update(
            last_deleted_run=Greatest("last_deleted_run", run.number)
        )
        run.delete()


def delete_metrics(run_id: int) -> None:
    delete_rows(MetricChunk.objects.filter(series__run=run_id))
    for rows in (MetricSeries, MetricCursor, LeftOutMetric):
        delete_rows(rows.objects.filter(run=run_id))
