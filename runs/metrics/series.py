"""Reads of a run's metrics: its series, thinned to what a chart can show."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import (
    BigIntegerField,
    Count,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Window,
)
from django.db.models.expressions import OrderBy
from django.db.models.functions import RowNumber

from runs.models import MetricPoint, MetricSeries, Run

MAX_POINTS = 10_000
MAX_TOTAL_POINTS = 100_000
MAX_STEP = 2**63 - 1
FIELDS = ("step", "pk", "value", "at")


class CurvePoint(NamedTuple):
    """A value of a series; None stands for NaN."""

    step: int
    value: float | None
    at: datetime


@dataclass(frozen=True)
class MetricCurve:
    name: str
    process: str
    points: list[CurvePoint]
    total: int


def series_of(
    run: Run,
    *,
    name: str = "",
    max_points: int = 1000,
    first: int | None = None,
    last: int | None = None,
    names_only: bool = False,
) -> list[MetricCurve]:
    """Return a run's series, or those with one name, between two steps, by name and process.

    With `names_only` without their points, of which there may be many.
    """
    found = MetricSeries.objects.filter(run=run).order_by("name", "process")
    if name:
        found = found.filter(name=name)
    if names_only:
        counted = found.annotate(total=Count("points"))
        return [MetricCurve(one.name, one.process, [], one.total) for one in counted]
    wanted = list(found)
    max_points = min(max_points, max(MAX_TOTAL_POINTS // max(len(wanted), 1), 4))
    return [_read(series, max_points, first, last) for series in wanted]


def last_steps(run_id: int) -> dict[str, int]:
    """Return the last step of every metric of a run."""
    newest = MetricPoint.objects.filter(series=OuterRef("pk")).order_by("-step").values("step")[:1]
    steps: dict[str, int] = {}
    found = MetricSeries.objects.filter(run_id=run_id).annotate(last=Subquery(newest))
    for name, step in found.values_list("name", "last"):
        if step is not None:
            steps[name] = max(step, steps.get(name, step))
    return steps


def _thinned(points: QuerySet[MetricPoint], max_points: int) -> list[CurvePoint]:
    """Keep the lowest and the highest point of each stretch of steps, and where NaN was seen.

    The first and the last point stay. The same points always give the same answer. The database
    chooses, so that the work of a long series is not the web process's.
    """
    first, last = points.first(), points.last()
    if first is None or last is None:
        return []
    buckets = max((max_points - 2) // 3, 1)
    # By halves, as steps may be farther apart than the largest integer of a database.
    low, high = first.step // 2, last.step // 2 + 1
    width = min((high - low) // buckets + 1, MAX_STEP)
    bucket = ExpressionWrapper((F("step") / 2 - low) / width, output_field=BigIntegerField())

    def best(*order: OrderBy | F) -> Window:
        return Window(RowNumber(), partition_by=[bucket], order_by=[*order, F("step"), F("pk")])

    numbers = points.exclude(value=None).annotate(
        lowest=best(F("value").asc()), highest=best(F("value").desc())
    )
    undefined = points.filter(value=None).annotate(earliest=best())
    found = {
        *numbers.filter(Q(lowest=1) | Q(highest=1)).values_list(*FIELDS),
        *undefined.filter(earliest=1).values_list(*FIELDS),
        *((point.step, point.pk, point.value, point.at) for point in (first, last)),
    }
    return [
        CurvePoint(step, value, at)
        for step, _, value, at in sorted(found, key=lambda row: (row[0], row[1]))
    ]


def as_json(series: MetricCurve) -> dict[str, Any]:
    return {
        "name": series.name,
        "process": series.process,
        "total": series.total,
        "points": [
            {"step": step, "value": shown(value), "at": at.isoformat()}
            for step, value, at in series.points
        ],
    }


def shown(value: float | None) -> float | str:
    """Return a value as JSON can carry it: what is not a number as a word."""
    if value is None or math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _read(
    series: MetricSeries, max_points: int, first: int | None, last: int | None
) -> MetricCurve:
    points = MetricPoint.objects.filter(series=series).order_by("step", "pk")
    if first is not None:
        points = points.filter(step__gte=first)
    if last is not None:
        points = points.filter(step__lte=last)
    total = points.count()
    rows = points.values_list("step", "value", "at")
    if total <= max_points:
        return MetricCurve(series.name, series.process, [CurvePoint(*row) for row in rows], total)
    return MetricCurve(series.name, series.process, _thinned(points, max_points), total)
