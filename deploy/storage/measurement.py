"""How many bytes of the disk each part of a team uses: measured by a worker, once a day or asked.

Sizes are those of files in bytes, as they are stored; rows of the database are not counted.
"""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from deploy.models import StorageReport
from models.models import ModelVersion
from runs.files.folders import files_below, run_folder
from runs.logs.log_file import folder_of
from runs.models import ProcessGroup, Run
from runs.source.blobs import store_for
from workspace.models import Team
from workspace.platform.background_jobs import enqueue_once
from workspace.platform.broker import JobQueue

JOB = "deploy.storage.measurement.measure_team"
JOB_SECONDS = 3600
BATCH = 500
log = logging.getLogger(__name__)


class DiskSpace(NamedTuple):
    """The disk that holds the home, in bytes."""

    total: int
    free: int


def disk_space() -> DiskSpace:
    """Return how large the disk of the home is, and what is free of it."""
    usage = shutil.disk_usage(settings.TRAINYARD_HOME)
    return DiskSpace(usage.total, usage.free)


def request_measurement(team: Team) -> None:
    """Ask a worker to measure what a team uses."""
    enqueue_once(
        JobQueue.MAINTENANCE,
        JOB,
        team.pk,
        job_id=f"measure-{team.pk}",
        timeout_seconds=JOB_SECONDS,
    )


def measure_all() -> None:
    """Measure what every team uses."""
    for team_id in list(Team.objects.values_list("pk", flat=True)):
        measure_team(team_id)


def measure_team(team_id: int) -> None:
    """Store what a team uses, and what each of its runs does."""
    team = Team.objects.get(pk=team_id)
    services = ProcessGroup.objects.filter(replica__revision__service__team=team)
    models = ModelVersion.objects.filter(model__team=team).aggregate(total=Sum("total_bytes"))
    StorageReport.objects.update_or_create(
        team=team,
        defaults={
            "measured_at": timezone.now(),
            "run_bytes": _measure_runs(team),
            "service_bytes": _size_of(
                folder_of(label) for label in services.values_list("label", flat=True).iterator()
            ),
            "blob_bytes": _size_of([store_for(team).root]),
            "model_bytes": models["total"] or 0,
        },
    )


def _measure_runs(team: Team) -> int:
    """Store the size of each run of a team; return their sum."""
    total, after = 0, 0
    runs = Run.objects.filter(team=team, deleted_at=None).order_by("pk")
    while batch := list(runs.filter(pk__gt=after).only("stored_bytes")[:BATCH]):
        folders: dict[int, list[Path]] = {run.pk: [run_folder(run.pk)] for run in batch}
        attempts = ProcessGroup.objects.filter(run__in=batch)
        for run_id, label in attempts.values_list("run_id", "label"):
            folders[run_id or 0].append(folder_of(label))
        changed = []
        for run in batch:
            size = _size_of(folders[run.pk])
            total += size
            if size != run.stored_bytes:
                run.stored_bytes = size
                changed.append(run)
        Run.objects.bulk_update(changed, ["stored_bytes"])
        after = batch[-1].pk
    return total


def _size_of(folders: Iterable[Path]) -> int:
    total = 0
    for folder in folders:
        try:
            total += sum(status.st_size for _, _, status in files_below(folder))
        except OSError as error:  # what is being written or removed is measured the next time
            log.info("%s was not measured whole: %s", folder, error)
    return total
