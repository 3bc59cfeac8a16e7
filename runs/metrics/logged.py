"""Metrics that programs send over REST: checked, and stored once."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.utils import timezone

from runs.events import group_of_run, nudge_on_commit
from runs.metrics import files, store
from runs.metrics.points import Point, by_series, microseconds
from runs.metrics.series_limits import MAX_NAME_LENGTH, MAX_SERIES, WAY_OUT, SeriesRoom
from runs.models import MetricSeries, Run
from workspace.platform.errors import FieldError, Invalid, NotFound

# The process of these series; those of a run's own processes stay apart.
API = "api"
MAX_AT_ONCE = 1000
MAX_MILLISECONDS = files.LATEST * 1000
FIELDS = {"name", "value", "step", "timestamp"}
REQUIRED = "This field is required."
NAME = f"Expected 1 to {MAX_NAME_LENGTH} printable characters."
VALUE = 'Expected a number, "NaN", "Infinity" or "-Infinity".'
STEP = "Expected an integer of 64 bits."
TIMESTAMP = (
    "Expected milliseconds since 1970-01-01 or a time in the form of ISO 8601,"
    " such as 2026-01-31T12:00:00Z."
)


class LoggedMetric(NamedTuple):
    name: str
    point: Point


def parse_metrics(body: object) -> list[LoggedMetric]:
    """Return the metrics of a request. Raises Invalid for all that is wrong with them."""
    if not isinstance(body, Mapping):
        raise Invalid.of(FieldError("body", "Expected an object with the field metrics."))
    errors = [FieldError(str(name), "Unknown field.") for name in body if name != "metrics"]
    metrics = body.get("metrics")
    if not isinstance(metrics, list) or not 1 <= len(metrics) <= MAX_AT_ONCE:
        errors.append(FieldError("metrics", f"Expected a list of 1 to {MAX_AT_ONCE:,} metrics."))
        raise Invalid.of(*errors)
    now = microseconds(timezone.now())
    logged = []
    for place, metric in enumerate(metrics):
        wrong: dict[str, str] = {}
        read = _read(metric, now, wrong)
        if wrong:
            errors += [FieldError(f"metrics[{place}]{at}", text) for at, text in wrong.items()]
        elif read is not None:
            logged.append(read)
    if errors:
        raise Invalid.of(*errors)
    return logged


@transaction.atomic
def store_metrics(run: Run, metrics: Sequence[LoggedMetric]) -> int:
    """Store metrics of a run that are not stored yet, and return how many those are."""
    if not Run.objects.filter(pk=run.pk, deleted_at=None).exists():
        raise NotFound(f"Run {run.number} was deleted.")
    keys = _series_of(run, metrics)
    points = by_series((keys[metric.name], metric.point) for metric in metrics)
    held = store.lock_series(list(points))
    new = {key: _not_stored(held[key], some) for key, some in points.items() if key in held}
    store.append(new, held)
    count = sum(map(len, new.values()))
    if count:
        nudge_on_commit(group_of_run(run.pk), "metrics", API)
    return count


def _read(metric: Any, now: int, wrong: dict[str, str]) -> LoggedMetric | None:
    """Read one metric, and note what is wrong by field."""
    if not isinstance(metric, Mapping):
        wrong[""] = "Expected an object with name, value, step and timestamp."
        return None
    if not metric.keys() <= FIELDS:
        wrong.update({f".{name}": "Unknown field." for name in metric if name not in FIELDS})
    name, value = metric.get("name"), metric.get("value")
    step, timestamp = metric.get("step"), metric.get("timestamp")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        wrong[".name"] = NAME if "name" in metric else REQUIRED
    number = _number(value)
    if number is None:
        wrong[".value"] = VALUE if "value" in metric else REQUIRED
    if step is None:
        step = 0
    elif type(step) is not int or step not in files.STEPS:
        wrong[".step"] = STEP
    at = now if timestamp is None else _microseconds(timestamp)
    if at is None:
        wrong[".timestamp"] = TIMESTAMP
    if wrong or number is None or at is None:
        return None
    return LoggedMetric(str(name), Point(int(step), at, number))


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return files.WORDS.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _microseconds(timestamp: Any) -> int | None:
    if isinstance(timestamp, str):
        try:
            at = datetime.fromisoformat(timestamp)
            return microseconds(at if at.tzinfo else at.replace(tzinfo=UTC))
        except (ValueError, OverflowError):
            return None
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        return None
    return round(timestamp * 1000) if 0 <= timestamp <= MAX_MILLISECONDS else None


def _series_of(run: Run, metrics: Sequence[LoggedMetric]) -> dict[str, int]:
    """Return the keys of the metrics' series; those that are not there yet are made."""
    places: dict[str, int] = {}
    for place, metric in enumerate(metrics):
        places.setdefault(metric.name, place)
    held = MetricSeries.objects.filter(run=run, process=API, name__in=places)
    keys = dict(held.values_list("name", "pk"))
    missing = [name for name in places if name not in keys]
    if not missing:
        return keys
    room, errors = SeriesRoom(run), []
    for name in missing:
        if room.has_room_for(name):
            room.take(name)
        else:
            text = f"The run has no room for it among its {MAX_SERIES:,} metrics. {WAY_OUT}"
            errors.append(FieldError(f"metrics[{places[name]}].name", text))
    if errors:
        raise Invalid.of(*errors)
    MetricSeries.objects.bulk_create(
        [MetricSeries(run=run, process=API, name=name) for name in missing], ignore_conflicts=True
    )
    return dict(held.values_list("name", "pk"))


def _not_stored(series: MetricSeries, points: Sequence[Point]) -> list[Point]:
    """Return the points that neither the series nor an earlier one of them repeats."""
    last = store.last_point(series)
    known: set[tuple[int, int, float | None]] = set()
    # Later steps and times than all that are stored cannot be repeats.
    doubtful = [point.step for point in points if last is not None and point[:2] <= last[:2]]
    if doubtful:
        stored = store.read(series.pk, min(doubtful), max(doubtful))
        known = {_comparable(point) for point in stored}
    new = []
    for point in points:
        if (same := _comparable(point)) not in known:
            known.add(same)
            new.append(point)
    return new


def _comparable(point: Point) -> tuple[int, int, float | None]:
    """Return a point so that NaN equals NaN."""
    return point.step, point.at, None if math.isnan(point.value) else point.value
