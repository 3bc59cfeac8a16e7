"""Reads of a run's metrics: its series, thinned to what a chart can show."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Max, Sum
from django.db.models.functions import Coalesce

from runs.metrics import store
from runs.metrics.points import time_of
from runs.metrics.thinning import Outline, thinned
from runs.models import MetricSeries, Run

MAX_POINTS = 10_000
MAX_TOTAL_POINTS = 100_000
# Points of a series of which charts read outlines alone.
LONG = 100_000


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
    max_total: int = MAX_TOTAL_POINTS,
    first: int | None = None,
    last: int | None = None,
    names_only: bool = False,
) -> list[MetricCurve]:
    """Return a run's series, or those with one name, between two steps, by name and process.

    Each has up to `max_points` points, and all together about `max_total`. With `names_only`
    without their points, of which there may be many.
    """
    found = MetricSeries.objects.filter(run=run).order_by("name", "process")
    if name:
        found = found.filter(name=name)
    if names_only:
        counted = found.annotate(total=Coalesce(Sum("chunks__count"), 0))
        return [MetricCurve(one.name, one.process, [], one.total) for one in counted]
    wanted = list(found.annotate(total=Coalesce(Sum("chunks__count"), 0)))
    max_points = min(max_points, max(max_total // max(len(wanted), 1), 4))
    short = [one.pk for one in wanted if one.total <= LONG]
    curves = {
        key: _curve_points(Outline(points, points.steps), len(points), max_points)
        for key, points in store.read_each(short, first, last)
    }
    for one in wanted:
        if one.total > LONG:
            outline, total = store.read_outline(one.pk, first, last, max_points)
            curves[one.pk] = _curve_points(outline, total, max_points)
    return [MetricCurve(one.name, one.process, *curves.get(one.pk, ([], 0))) for one in wanted]


def last_values(runs: Iterable[int]) -> dict[int, dict[str, float | str]]:
    """Return the last value of each metric of runs, by the runs' ids and the metrics' names.

    With a process in parentheses where a run has several.
    """
    values: dict[int, dict[str, float | str]] = {run: {} for run in runs}
    held = MetricSeries.objects.filter(run__in=values, last_step__isnull=False)
    for one in held.order_by("name", "process"):
        name = f"{one.name} ({one.process})" if one.process else one.name
        values[one.run_id][name] = shown(one.last_value)
    return values


def last_steps(run_id: int) -> dict[str, int]:
    """Return the last step of every metric of a run."""
    found = MetricSeries.objects.filter(run=run_id, last_step__isnull=False).order_by()
    return dict(found.values("name").annotate(last=Max("last_step")).values_list("name", "last"))


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


def _curve_points(outline: Outline, total: int, max_points: int) -> tuple[list[CurvePoint], int]:
    kept = outline.points.by_step() if total <= max_points else thinned(outline, max_points)
    return [
        CurvePoint(step, None if math.isnan(value) else value, time_of(at))
        for step, at, value in kept
    ], total
