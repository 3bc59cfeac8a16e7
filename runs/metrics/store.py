"""The stored points of metrics: rows of many points each, which grow as points come."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from django.db import transaction
from django.db.models import QuerySet

from runs.metrics.points import Point, Points, microseconds, time_of
from runs.metrics.thinning import PART_OF_RANGE, Outline, range_width
from runs.models import MetricChunk, MetricSeries

# Points of a chunk that grows no more.
FULL = 4096
ROWS_AT_ONCE = 100
LAST = ("last_step", "last_at", "last_value")


def lock_series(keys: Sequence[int]) -> dict[int, MetricSeries]:
    """Return series that nobody else writes until the transaction ends."""
    found = MetricSeries.objects.select_for_update().filter(pk__in=keys).order_by("pk")
    return {series.pk: series for series in found}


@transaction.atomic
def append(
    points: Mapping[int, Sequence[Point]], held: Mapping[int, MetricSeries] | None = None
) -> None:
    """Store points, by the key of their series; `held` are the series if they are locked."""
    if held is None:
        held = lock_series(list(points))
    columns = {
        key: Points.of(some).by_step() for key, some in points.items() if some and key in held
    }
    _advance_last(held, columns)
    _add_chunks(columns)


def read(series: int, first: int | None = None, last: int | None = None) -> Points:
    """Return a series' points of the steps `first` to `last`, by step and then by arrival."""
    found = MetricChunk.objects.filter(series=series)
    return next((points for _, points in _read(found, first, last)), Points.of([]))


def read_each(
    series: Sequence[int], first: int | None = None, last: int | None = None
) -> Iterator[tuple[int, Points]]:
    """Yield the key and the points of each series that has points at the steps `first` to `last`.

    One series at a time is in memory.
    """
    yield from _read(MetricChunk.objects.filter(series__in=series), first, last)


def read_outline(
    series: int, first: int | None, last: int | None, max_points: int
) -> tuple[Outline, int]:
    """Return what a chart shows of a long series, and how many points it has.

    Most chunks are not read, only their outlines.
    """
    rows = _between(MetricChunk.objects.filter(series=series), first, last).order_by("pk")
    chunks = list(rows.values_list("pk", "count", "first_step", "last_step", "outline"))
    if not chunks:
        return Outline.joined([]), 0
    low = max(min(chunk[2] for chunk in chunks), -(2**63) if first is None else first)
    high = min(max(chunk[3] for chunk in chunks), 2**63 - 1 if last is None else last)
    widest = 2 * range_width(low, high, max_points) // PART_OF_RANGE
    parts: dict[int, Outline] = {}
    total = 0
    for pk, count, begin, end, packed in chunks:
        if packed and low <= begin and end <= high:
            outline = Outline.unpack(packed)
            if outline.widest_block() <= widest:
                parts[pk] = outline
                total += count
    whole = MetricChunk.objects.filter(
        pk__in=[chunk[0] for chunk in chunks if chunk[0] not in parts]
    )
    for pk, packed in whole.values_list("pk", "points"):
        points = Points.unpack(packed).between(first, last)
        parts[pk] = Outline(points, points.steps)
        total += len(points)
    return Outline.joined([parts[pk] for pk in sorted(parts)]), total


def remove(series: MetricSeries, first: int, until: int | None = None) -> None:
    """Remove a locked series' points from the step `first` on, up to but not including `until`."""
    last = None if until is None else until - 1
    for chunk in _between(MetricChunk.objects.filter(series=series), first, last):
        points = Points.unpack(chunk.points)
        outside = points.steps < first
        if last is not None:
            outside |= points.steps > last
        kept = points.at(outside)
        if len(kept):
            _fill(chunk, kept)
            chunk.save()
        else:
            chunk.delete()
    _put_last(series, _last_of(series))
    series.save(update_fields=LAST)


def last_point(series: MetricSeries) -> Point | None:
    """Return a series' greatest point by step, time and value, as it is kept with the series."""
    if series.last_step is None or series.last_at is None:
        return None
    value = math.nan if series.last_value is None else series.last_value
    return Point(series.last_step, microseconds(series.last_at), value)


def _read(
    chunks: QuerySet[MetricChunk], first: int | None, last: int | None
) -> Iterator[tuple[int, Points]]:
    rows = _between(chunks, first, last).order_by("series", "pk").values_list("series", "points")
    for key, some in groupby(rows.iterator(ROWS_AT_ONCE), itemgetter(0)):
        points = Points.joined([Points.unpack(packed) for _, packed in some]).by_step()
        points = points.between(first, last)
        if len(points):
            yield key, points


def _between(
    chunks: QuerySet[MetricChunk], first: int | None, last: int | None
) -> QuerySet[MetricChunk]:
    if first is not None:
        chunks = chunks.filter(last_step__gte=first)
    if last is not None:
        chunks = chunks.filter(first_step__lte=last)
    return chunks


def _add_chunks(new: Mapping[int, Points]) -> None:
    """Add chunks, and put the last ones together while they are no larger than what follows.

    So a series has a few small chunks beside the full ones, and a point is moved a few times.
    """
    small: dict[int, list[tuple[int, int]]] = {}
    found = MetricChunk.objects.filter(series__in=new, count__lt=FULL).order_by("-pk")
    for key, chunk, count in found.values_list("series", "pk", "count"):
        small.setdefault(key, []).append((chunk, count))
    joined: dict[int, list[int]] = {}
    for key, points in new.items():
        total = len(points)
        for chunk, count in small.get(key, []):
            if count > total:
                break
            joined.setdefault(key, []).insert(0, chunk)
            total += count
    replaced = [chunk for chunks in joined.values() for chunk in chunks]
    packed = dict(MetricChunk.objects.filter(pk__in=replaced).values_list("pk", "points"))
    MetricChunk.objects.filter(pk__in=replaced).delete()
    made = []
    for key, points in new.items():
        earlier = [Points.unpack(packed[chunk]) for chunk in joined.get(key, [])]
        whole = Points.joined([*earlier, points]).by_step()
        for start in range(0, len(whole), FULL):
            made.append(MetricChunk(series_id=key))
            _fill(made[-1], whole.at(slice(start, start + FULL)))
    MetricChunk.objects.bulk_create(made)


def _fill(chunk: MetricChunk, points: Points) -> None:
    chunk.count = len(points)
    chunk.first_step, chunk.last_step = int(points.steps[0]), int(points.steps[-1])
    chunk.outline = Outline.of(points).pack() if len(points) == FULL else b""
    chunk.points = points.pack()


def _advance_last(held: Mapping[int, MetricSeries], new: Mapping[int, Points]) -> None:
    changed = []
    for key, points in new.items():
        series = held[key]
        point, last = points.last(), last_point(series)
        if last is None or _rank(point) > _rank(last):
            _put_last(series, point)
            changed.append(series)
    if len(changed) == 1:
        changed[0].save(update_fields=LAST)
    else:
        MetricSeries.objects.bulk_create(
            changed, update_conflicts=True, unique_fields=["pk"], update_fields=LAST
        )


def _rank(point: Point) -> tuple[int, int, bool, float]:
    is_number = not math.isnan(point.value)
    return point.step, point.at, is_number, point.value if is_number else 0.0


def _last_of(series: MetricSeries) -> Point | None:
    newest = MetricChunk.objects.filter(series=series).order_by("-last_step").first()
    if newest is None:
        return None
    return read(series.pk, first=newest.last_step).last()


def _put_last(series: MetricSeries, point: Point | None) -> None:
    series.last_step = point.step if point else None
    series.last_at = time_of(point.at) if point else None
    series.last_value = None if point is None or math.isnan(point.value) else point.value
