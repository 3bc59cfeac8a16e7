"""Points as they are stored: in the order of steps and arrival, in few rows, with the last one."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.metrics import store
from runs.metrics.points import Point
from runs.metrics.series import last_steps, series_of
from runs.models import MetricChunk, MetricSeries, Run

pytestmark = pytest.mark.django_db
VALUES = st.floats() | st.just(math.nan)
BATCHES = st.lists(
    st.lists(st.builds(Point, st.integers(-5, 60), st.integers(0, 3), VALUES), max_size=20),
    max_size=20,
)


@pytest.fixture
def series(run: Run) -> MetricSeries:
    return MetricSeries.objects.create(run=run, name="loss")


def comparable(points: list[Point]) -> list[tuple[int, int, float | None]]:
    return [(step, at, None if math.isnan(value) else value) for step, at, value in points]


def greatest(points: list[Point]) -> tuple[int, int, float | None] | None:
    """Return the last point as MLflow defines it, with NaN below every number."""
    of_last = [point for point in points if point[:2] == max(other[:2] for other in points)]
    numbers = [point.value for point in of_last if not math.isnan(point.value)]
    return (*of_last[0][:2], max(numbers, default=None)) if of_last else None


def last_of(series: MetricSeries) -> tuple[int, int, float | None] | None:
    series.refresh_from_db()
    if series.last_step is None or series.last_at is None:
        return None
    at = (series.last_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return series.last_step, at, series.last_value


@given(BATCHES, st.integers(-6, 61), st.integers(-6, 61), st.integers(2, 9))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_points_come_back_by_step_and_arrival_however_they_came(
    run: Run, batches: list[list[Point]], first: int, last: int, full: int
) -> None:
    series = MetricSeries.objects.create(run=run, name="loss")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "FULL", full)
        for batch in batches:
            store.append({series.pk: batch})
    expected = sorted((point for batch in batches for point in batch), key=lambda point: point.step)
    assert comparable(list(store.read(series.pk))) == comparable(expected)
    within = [point for point in expected if first <= point.step <= last]
    assert comparable(list(store.read(series.pk, first, last))) == comparable(within)
    assert last_of(series) == greatest(expected)

    store.remove(series, first, last + 1)
    left = [point for point in expected if not first <= point.step <= last]
    assert comparable(list(store.read(series.pk))) == comparable(left)
    assert last_of(series) == greatest(left)
    series.delete()


def test_a_series_that_grows_point_by_point_has_few_rows(series: MetricSeries) -> None:
    for step in range(1000):
        store.append({series.pk: [Point(step, step, 1.0)]})
    assert MetricChunk.objects.count() <= 10
    store.append({series.pk: [Point(step, step, 1.0) for step in range(1000, 10_000)]})
    assert MetricChunk.objects.count() <= 3
    assert [point.step for point in store.read(series.pk)] == list(range(10_000))


def test_many_series_grow_at_once(run: Run) -> None:
    MetricSeries.objects.bulk_create(MetricSeries(run=run, name=f"m{n}") for n in range(300))
    names = dict(MetricSeries.objects.values_list("pk", "name"))
    for step in range(3):
        store.append({pk: [Point(step, 0, float(pk))] for pk in names})
    assert {one.name: one.total for one in series_of(run, names_only=True)} == dict.fromkeys(
        names.values(), 3
    )
    assert last_steps(run.pk) == dict.fromkeys(names.values(), 2)
    assert set(MetricSeries.objects.values_list("name", "last_value")) == {
        (name, float(pk)) for pk, name in names.items()
    }


def test_points_of_a_series_that_is_gone_are_dropped(series: MetricSeries) -> None:
    store.append({series.pk + 1: [Point(1, 0, 1.0)], series.pk: [Point(1, 0, 1.0)]})
    assert MetricChunk.objects.get().series_id == series.pk
