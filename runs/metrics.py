"""Reads of a run's metrics: its series, thinned to what a chart can show."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import OuterRef, QuerySet, Subquery

from runs.models import MetricPoint, MetricSeries, Run

MOST_POINTS = 10_000
MOST_POINTS_IN_ALL = 100_000


class Point(NamedTuple):
    """A value of a series; None stands for NaN."""

    step: int
    value: float | None
    at: datetime


@dataclass(frozen=True)
class Series:
    name: str
    process: str
    points: list[Point]
    total: int


def series_of(
    run: Run,
    *,
    name: str = "",
    max_points: int = 1000,
    first: int | None = None,
    last: int | None = None,
) -> list[Series]:
    """Give a run's series, or those with one name, between two steps, by name and process."""
    found = MetricSeries.objects.filter(run=run).order_by("name", "process")
    if name:
        found = found.filter(name=name)
    wanted = list(found)
    max_points = min(max_points, max(MOST_POINTS_IN_ALL // max(len(wanted), 1), 4))
    return [_read(series, max_points, first, last) for series in wanted]


def last_steps(run_id: int) -> dict[str, int]:
    """Give the last step of every metric of a run."""
    newest = MetricPoint.objects.filter(series=OuterRef("pk")).order_by("-step").values("step")[:1]
    steps: dict[str, int] = {}
    found = MetricSeries.objects.filter(run_id=run_id).annotate(last=Subquery(newest))
    for name, step in found.values_list("name", "last"):
        if step is not None:
            steps[name] = max(step, steps.get(name, step))
    return steps


def thinned(points: Iterable[Point], first: int, last: int, max_points: int) -> list[Point]:
    """Keep the lowest and the highest point of each stretch of steps, and where NaN was seen.

    The first and the last point stay. The same points always give the same answer.
    """
    buckets = max((max_points - 2) // 3, 1)
    width = (last - first) // buckets + 1
    kept: list[Point] = []
    opening = closing = None
    for bucket in _buckets(points, first, width):
        opening = opening or bucket[0]
        closing = bucket[-1]
        numbers = [point for point in bucket if point.value is not None]
        chosen = [point for point in bucket if point.value is None][:1]
        if numbers:
            chosen.append(min(numbers, key=_value))
            chosen.append(max(numbers, key=_value))
        kept += sorted(set(chosen), key=bucket.index)
    if opening is not None and closing is not None:
        if kept[0] != opening:
            kept.insert(0, opening)
        if kept[-1] != closing:
            kept.append(closing)
    return kept


def as_json(series: Series) -> dict[str, Any]:
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
    """Give a value as JSON can carry it: what is not a number as a word."""
    if value is None or math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _read(series: MetricSeries, max_points: int, first: int | None, last: int | None) -> Series:
    points = MetricPoint.objects.filter(series=series).order_by("step", "pk")
    if first is not None:
        points = points.filter(step__gte=first)
    if last is not None:
        points = points.filter(step__lte=last)
    total = points.count()
    rows = points.values_list("step", "value", "at")
    if total <= max_points:
        return Series(series.name, series.process, [Point(*row) for row in rows], total)
    low, high = _ends(points)
    every = (Point(*row) for row in rows.iterator(chunk_size=10_000))
    return Series(series.name, series.process, thinned(every, low, high, max_points), total)


def _ends(points: QuerySet[MetricPoint]) -> tuple[int, int]:
    steps = points.values_list("step", flat=True)
    low, high = steps.first(), steps.last()
    return low or 0, high or 0


def _buckets(points: Iterable[Point], first: int, width: int) -> Iterator[list[Point]]:
    bucket: list[Point] = []
    end = first + width
    for point in points:
        if point.step >= end and bucket:
            yield bucket
            bucket = []
        if point.step >= end:
            end += ((point.step - end) // width + 1) * width
        bucket.append(point)
    if bucket:
        yield bucket


def _value(point: Point) -> float:
    return 0.0 if point.value is None else point.value
