"""Series of metrics as charts get them: thinned, with their ends and extremes."""

import math
from collections import Counter
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.metrics import store
from runs.metrics.points import Point
from runs.metrics.series import last_steps, series_of
from runs.models import MetricSeries, ProcessGroup, Run
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
    series = MetricSeries.objects.create(run=run, name="loss")
    store.append({series.pk: [Point(step, 0, as_float(value)) for step, value in rows]})
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
    series = MetricSeries.objects.create(run=run, name="loss")
    values = {step: float(step % 97) for step in range(1000)} | dict.fromkeys(far, 50.0)
    store.append({series.pk: [Point(step, 0, value) for step, value in values.items()]})
    [curve] = series_of(run, max_points=max_points)
    assert len(curve.points) <= max(max_points, 8)
    kept = {point.step: point.value for point in curve.points}
    assert (min(kept), max(kept)) == (min(values), max(values))
    assert {0.0, 96.0} <= set(kept.values())
    assert kept.items() <= values.items()


def test_a_long_series_is_thinned_and_a_zoom_shows_every_point(
    group: ProcessGroup, run: Run, client: Client, vera: Any
) -> None:
    series = MetricSeries.objects.create(run=run, name="loss")
    store.append({series.pk: [Point(step, 0, float(step % 97)) for step in range(5000)]})
    address = f"/api/v1/teams/{run.team.slug}/runs/{run.number}/metrics"
    [whole] = client.get(f"{address}?max_points=100", headers=bearer(vera)).json()["series"]
    assert whole["total"] == 5000
    assert 50 <= len(whole["points"]) <= 100
    [zoomed] = client.get(
        f"{address}?name=loss&max_points=100&from=200&to=249", headers=bearer(vera)
    ).json()["series"]
    assert [point["step"] for point in zoomed["points"]] == list(range(200, 250))
    assert last_steps(run.pk) == {"loss": 4999}
