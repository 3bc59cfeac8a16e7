"""Series of metrics as charts get them: thinned, with their ends and extremes."""

import math
import random
from collections import Counter
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.metrics import series, store
from runs.metrics.points import Point
from runs.metrics.series import last_steps, series_of
from runs.models import MetricChunk, MetricSeries, ProcessGroup, Run
from tests.factories import bearer

pytestmark = pytest.mark.django_db
POINTS = st.lists(
    st.tuples(st.integers(0, 300), st.none() | st.floats(allow_nan=False)), min_size=1, max_size=300
)


def as_float(value: float | None) -> float:
    return math.nan if value is None else value


@given(POINTS, st.integers(3, 60))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_thinned_series_keeps_its_ends_and_extremes_and_is_always_the_same(
    run: Run, rows: list[tuple[int, float | None]], max_points: int
) -> None:
    MetricSeries.objects.all().delete()
    row = MetricSeries.objects.create(run=run, name="loss")
    store.append({row.pk: [Point(step, 0, as_float(value)) for step, value in rows]})
    points = sorted(rows, key=lambda row: row[0])
    [curve] = series_of(run, max_points=max_points)
    assert curve == series_of(run, max_points=max_points)[0]
    assert curve.total == len(rows)
    kept = [(point.step, point.value) for point in curve.points]
    assert len(kept) <= max(max_points, 5)
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
    assert not Counter(kept) - Counter(points)
    numbers = [value for _, value in points if value is not None]
    kept_numbers = [value for _, value in kept if value is not None]
    if numbers:
        assert min(kept_numbers) == min(numbers)
        assert max(kept_numbers) == max(numbers)
    assert any(value is None for _, value in kept) == any(value is None for _, value in points)


@pytest.mark.parametrize("far", [(-(2**63),), (-(2**63) + 1,), (2**63 - 1,), (-(2**63), 2**63 - 1)])
@pytest.mark.parametrize("max_points", [4, 100])
def test_steps_however_far_apart_are_thinned(
    run: Run, far: tuple[int, ...], max_points: int
) -> None:
    row = MetricSeries.objects.create(run=run, name="loss")
    values = {step: float(step % 97) for step in range(1000)} | dict.fromkeys(far, 50.0)
    store.append({row.pk: [Point(step, 0, value) for step, value in values.items()]})
    [curve] = series_of(run, max_points=max_points)
    assert len(curve.points) <= max(max_points, 8)
    kept = {point.step: point.value for point in curve.points}
    assert (min(kept), max(kept)) == (min(values), max(values))
    assert {0.0, 96.0} <= set(kept.values())
    assert kept.items() <= values.items()


@pytest.mark.parametrize("span", [None, (3000, 8000)])
@pytest.mark.parametrize("is_even", [True, False])
def test_each_pixel_of_a_long_series_has_its_extremes(
    run: Run, span: tuple[int, int] | None, is_even: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pixel may begin or end an eighth of its width beside its place."""
    monkeypatch.setattr(series, "LONG", 1000)
    monkeypatch.setattr(store, "FULL", 1024)
    chance = random.Random(7)  # noqa: S311 (no secret)
    count = 20_000
    steps = range(count) if is_even else [*sorted(chance.choices(range(9000), k=count - 1)), count]
    points = [Point(step, 0, chance.gauss()) for step in steps]
    points[7000] = Point(steps[7000], 0, math.nan)
    row = MetricSeries.objects.create(run=run, name="loss")
    for start in range(0, count, 700):
        store.append({row.pk: points[start : start + 700]})
    first, last = span or (steps[0], steps[-1])
    shown = [point for point in points if first <= point.step <= last]
    [curve] = series_of(run, max_points=32, first=first, last=last)
    assert curve.total == len(shown)
    assert len(curve.points) <= 32
    assert not {point[:2] for point in curve.points} - {
        (step, None if math.isnan(value) else value) for step, _, value in shown
    }
    assert any(point.value is None for point in curve.points)
    assert (curve.points[0].step, curve.points[-1].step) == (shown[0].step, shown[-1].step)
    width = (last - first) / 10
    for pixel in range(10):
        begin, end = first + pixel * width, first + (pixel + 1) * width
        of_pixel = [p.value for p in shown if begin <= p.step < end and p.value == p.value]
        near = [
            point.value
            for point in curve.points
            if begin - width / 8 <= point.step <= end + width / 8 and point.value is not None
        ]
        assert not of_pixel or (min(near) <= min(of_pixel) and max(near) >= max(of_pixel))


def test_a_long_chart_reads_few_points(
    run: Run, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(series, "LONG", 1000)
    row = MetricSeries.objects.create(run=run, name="loss")
    store.append({row.pk: [Point(step, 0, float(step % 97)) for step in range(100_000)]})
    whole = [len(packed) for packed in MetricChunk.objects.values_list("points", flat=True)]
    MetricChunk.objects.filter(count=store.FULL).update(points=b"")
    with django_assert_max_num_queries(3):
        [curve] = series_of(run, max_points=100)
    assert sum(whole) == 24 * 100_000
    assert {0.0, 96.0} <= {point.value for point in curve.points}


def test_a_long_series_is_thinned_and_a_zoom_shows_every_point(
    group: ProcessGroup, run: Run, client: Client, vera: Any
) -> None:
    row = MetricSeries.objects.create(run=run, name="loss")
    store.append({row.pk: [Point(step, 0, float(step % 97)) for step in range(5000)]})
    address = f"/api/v1/teams/{run.team.slug}/runs/{run.number}/metrics"
    [whole] = client.get(f"{address}?max_points=100", headers=bearer(vera)).json()["series"]
    assert whole["total"] == 5000
    assert 50 <= len(whole["points"]) <= 100
    [zoomed] = client.get(
        f"{address}?name=loss&max_points=100&from=200&to=249", headers=bearer(vera)
    ).json()["series"]
    assert [point["step"] for point in zoomed["points"]] == list(range(200, 250))
    assert last_steps(run.pk) == {"loss": 4999}
