"""Points of metrics move from a row each into rows of up to 4,096."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import django.db.models.deletion
import numpy as np
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

FULL = 4096
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def put_together(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    chunks = apps.get_model("runs", "MetricChunk").objects
    points = apps.get_model("runs", "MetricPoint").objects
    for series in apps.get_model("runs", "MetricSeries").objects.all().iterator():
        of_series = points.filter(series=series).order_by("step", "pk")
        rows = of_series.values_list("step", "at", "value").iterator(FULL)
        last = None
        for some in _in_batches(rows):
            steps, times, values = zip(*some, strict=True)
            micros = [(at - EPOCH) // MICROSECOND for at in times]
            numbers = [math.nan if value is None else value for value in values]
            chunks.create(
                series=series,
                count=len(some),
                first_step=steps[0],
                last_step=steps[-1],
                points=np.array(steps, "<i8").tobytes()
                + np.array(micros, "<i8").tobytes()
                + np.array(numbers, "<f8").tobytes(),
            )
            last = max([*some, *([last] if last else [])], key=_order)
        if last is not None:
            series.last_step, series.last_at, series.last_value = last
            series.save(update_fields=["last_step", "last_at", "last_value"])


def take_apart(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    point = apps.get_model("runs", "MetricPoint")
    for chunk in apps.get_model("runs", "MetricChunk").objects.order_by("pk").iterator(100):
        length = chunk.count * 8
        steps = np.frombuffer(chunk.points, "<i8", chunk.count).tolist()
        times = np.frombuffer(chunk.points, "<i8", chunk.count, length).tolist()
        values = np.frombuffer(chunk.points, "<f8", chunk.count, 2 * length).tolist()
        point.objects.bulk_create(
            [
                point(
                    series_id=chunk.series_id,
                    step=step,
                    at=EPOCH + at * MICROSECOND,
                    value=None if math.isnan(value) else value,
                )
                for step, at, value in zip(steps, times, values, strict=True)
            ],
            batch_size=1000,
        )
    apps.get_model("runs", "MetricSeries").objects.update(
        last_step=None, last_at=None, last_value=None
    )


def _in_batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(islice(rows, FULL)):
        yield some


def _order(row: tuple[int, datetime, float | None]) -> tuple[int, datetime, bool, float]:
    step, at, value = row
    return step, at, value is not None, value or 0.0


class Migration(migrations.Migration):
    dependencies = [("runs", "0013_stored_bytes")]

    operations = [
        migrations.AlterField(
            model_name="metricseries",
            name="name",
            field=models.CharField(max_length=250),
        ),
        migrations.AlterField(
            model_name="leftoutmetric",
            name="name",
            field=models.CharField(max_length=250),
        ),
        migrations.CreateModel(
            name="MetricChunk",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("count", models.PositiveIntegerField()),
                ("first_step", models.BigIntegerField()),
                ("last_step", models.BigIntegerField()),
                ("outline", models.BinaryField(default=bytes)),
                ("points", models.BinaryField()),
                (
                    "series",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="chunks",
                        to="runs.metricseries",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["series", "count"], name="chunks_by_size")],
            },
        ),
        migrations.RunPython(put_together, take_apart),
        migrations.DeleteModel(name="MetricPoint"),
    ]
