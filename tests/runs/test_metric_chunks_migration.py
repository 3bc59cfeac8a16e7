"""Points of metrics of an older version are kept, each in its place."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from runs.metrics.series import series_of
from runs.models import MetricSeries, Run
from tests.runs.test_migrations import an_old_run, apps_now, migrate_forward

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
BEFORE = ("runs", "0012_last_points")
START = datetime(2026, 1, 1, 12, 30, 15, 123457, tzinfo=UTC)
VALUES = [1 / 3, None, math.inf, -math.inf, 1e-300, -0.0]
EXTREMES = [-(2**63), -1, 0, 2**63 - 1]
Row = tuple[int, datetime, float | None]


def test_points_are_moved_into_chunks_and_back() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate([BEFORE])
    apps = apps_now()
    run = an_old_run(apps)
    old_series = apps.get_model("runs", "MetricSeries").objects
    point = apps.get_model("runs", "MetricPoint")
    loss = old_series.create(run_id=run, process="worker-0", name="loss")
    accuracy = old_series.create(run_id=run, process="", name="accuracy")
    old_series.create(run_id=run, process="", name="empty")
    long: list[Row] = [
        (step // 2, START + timedelta(microseconds=step), VALUES[step % len(VALUES)])
        for step in range(9001)
    ]
    far: list[Row] = [(step, START, 0.5) for step in EXTREMES]
    point.objects.bulk_create(
        point(series=series, step=step, at=at, value=value)
        for series, rows in ((loss, long), (accuracy, far))
        for step, at, value in rows
    )
    migrate_forward()

    curves = {
        curve.name: [(step, at, value) for step, value, at in curve.points]
        for curve in series_of(Run.objects.get(pk=run), max_points=10_000)
    }
    assert curves == {"loss": long, "accuracy": far, "empty": []}
    last = dict(MetricSeries.objects.values_list("name", "last_step"))
    assert last == {"loss": 4500, "accuracy": 2**63 - 1, "empty": None}
    assert MetricSeries.objects.get(name="loss").last_at == long[-1][1]

    MigrationExecutor(connection).migrate([BEFORE])
    old = apps_now().get_model("runs", "MetricPoint").objects.filter(series_id=loss.pk)
    assert list(old.order_by("step", "pk").values_list("step", "at", "value")) == long
    migrate_forward()
