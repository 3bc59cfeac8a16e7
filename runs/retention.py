"""What goes of runs that ended long ago: points of metrics, events and logs. The runs stay."""

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from runs.deletion import delete_metrics
from runs.logs.log_file import folder_of
from runs.models import (
    MetricSeries,
    Process,
    ProcessGroup,
    Run,
    RunEvent,
    UsageSample,
)
from workspace.retention import BATCH, days_ago, delete_rows

IN_ONE_QUERY = 500


def purge_runs() -> None:
    """Delete what is older than the settings say, of runs that are over."""
    _purge_metrics(days_ago(settings.TRAINYARD_KEEP_METRICS_DAYS))
    _purge_events(days_ago(settings.TRAINYARD_KEEP_EVENTS_DAYS))
    _purge_logs(days_ago(settings.TRAINYARD_KEEP_LOGS_DAYS))


def _purge_metrics(before: datetime) -> None:
    ended = Run.objects.filter(ended_at__lt=before)
    with_series = ended.filter(Exists(MetricSeries.objects.filter(run=OuterRef("pk"))))
    for run in _each(with_series):
        delete_metrics(run)
    sampled = Process.objects.filter(
        Exists(UsageSample.objects.filter(process=OuterRef("pk"))),
        group__removed_at__lt=before,
    )
    for process in _each(sampled):
        delete_rows(UsageSample.objects.filter(process=process))


def _purge_events(before: datetime) -> None:
    ended = Run.objects.filter(ended_at__lt=before)
    for run in _each(ended.filter(Exists(RunEvent.objects.filter(run=OuterRef("pk"))))):
        delete_rows(RunEvent.objects.filter(run=run))


def _each(rows: QuerySet) -> Iterator[int]:  # type: ignore[type-arg]
    """Yield the keys of rows that each lose what brought them here."""
    while batch := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        yield from batch


def _purge_logs(before: datetime) -> None:
    """Remove the folders of attempts that are gone; those that are there tell what to look for."""
    folders = [folder for folder in _groups_folder().iterdir() if folder.is_dir()]
    for start in range(0, len(folders), IN_ONE_QUERY):
        some = {folder.name: folder for folder in folders[start : start + IN_ONE_QUERY]}
        over = ProcessGroup.objects.filter(label__in=some, removed_at__lt=before)
        for label in over.values_list("label", flat=True):
            shutil.rmtree(some[label], ignore_errors=True)


def _groups_folder() -> Path:
    folder = folder_of("any").parent
    folder.mkdir(parents=True, exist_ok=True)
    return folder
