"""What the gateway notes of each revision: requests, errors, latencies, how many at once."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.utils import timezone

from deploy.models import Revision, Traffic
from deploy.traffic.counters import RevisionLabel, TrafficCounters, drop_old_traffic, write_traffic
from deploy.traffic.latency_histogram import (
    BOUNDS,
    bucket_of,
    empty_buckets,
    percentile,
    sum_buckets,
)
from deploy.traffic.recorder import TrafficRecorder
from tests.deploy.fake_replicas import answers, sends, waits
from tests.deploy.gateway_client import MakeFront, closed_port
from tests.waiting import wait_for
from workspace.models import Installation

pytestmark = pytest.mark.slow

LABEL = RevisionLabel("default", "digits", 1)


# Latencies


def test_a_duration_is_counted_at_the_first_bound_that_holds_it() -> None:
    assert bucket_of(0.0) == 0
    assert bucket_of(0.0005) == 0
    assert BOUNDS[bucket_of(0.0006)] == 0.001
    assert bucket_of(1e9) == len(BOUNDS) - 1


def test_a_percentile_is_off_by_no_more_than_the_width_of_its_bounds() -> None:
    counts = empty_buckets()
    durations = [number / 10_000 for number in range(1, 10_001)]  # up to a second, evenly
    for duration in durations:
        counts[bucket_of(duration)] += 1
    for share in (0.01, 0.5, 0.9, 0.95, 0.99, 1.0):
        assert percentile(counts, share) == pytest.approx(share, abs=0.001)


def test_a_percentile_of_nothing_is_none_and_none_is_made_up_beyond_the_bounds() -> None:
    counts = empty_buckets()
    assert percentile(counts, 0.95) is None
    counts[-1] = 3
    assert percentile(counts, 0.95) == BOUNDS[-2]


def test_counts_add_up_bound_by_bound() -> None:
    assert sum_buckets([]) == empty_buckets()
    ones, twos = [1] * len(BOUNDS), [2] * len(BOUNDS)
    assert sum_buckets([ones, twos]) == [3] * len(BOUNDS)


# Tallies


class Clock:
    """Stands for the module time: both of its clocks are moved by hand, the wall's also alone."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.ahead = 0.0

    def time(self) -> float:
        return self.now + self.ahead

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("deploy.traffic.counters.time", clock)
    return clock


def test_in_flight_is_the_mean_over_the_span(clock: Clock) -> None:
    tallies = TrafficCounters()
    counters = tallies.of(1, LABEL)
    first, second = counters.begin(), counters.begin()
    clock.now += 5
    counters.end(first, 200, is_error=False)
    clock.now += 5
    [row] = tallies.flush_interval()
    assert (row.requests, row.in_flight) == (1, 1.5)
    clock.now += 10
    counters.end(second, 503, is_error=True)
    [row] = tallies.flush_interval()
    assert (row.requests, row.errors, row.in_flight) == (1, 1, 1.0)
    assert row.latencies[bucket_of(20.0)] == 1


def test_a_span_without_anything_makes_no_row(clock: Clock) -> None:
    tallies = TrafficCounters()
    counters = tallies.of(1, LABEL)
    counters.end(counters.begin(), 200, is_error=False)
    clock.now += 10
    assert len(tallies.flush_interval()) == 1
    clock.now += 10
    assert tallies.flush_interval() == []


def test_no_two_rows_of_a_process_are_of_the_same_span(clock: Clock) -> None:
    tallies = TrafficCounters()
    counters = tallies.of(1, LABEL)
    rows = []
    for _ in range(40):
        counters.end(counters.begin(), 200, is_error=False)
        clock.now += 3.3
        rows += tallies.flush_interval()
    assert len({row.at for row in rows}) == len(rows)
    clock.now += 10
    assert sum(row.requests for row in rows + tallies.flush_interval()) == 40


@pytest.mark.parametrize("step", [-3600.0, 3600.0], ids=["back", "ahead"])
def test_a_clock_that_is_put_elsewhere_keeps_no_row_back(clock: Clock, step: float) -> None:
    tallies = TrafficCounters()
    counters = tallies.of(1, LABEL)
    busy = counters.begin()
    rows = []
    for second in range(2 * 3600 // 10):
        clock.ahead = 0.0 if second % 200 < 100 else step
        clock.now += 10
        counters.end(counters.begin(), 200, is_error=False)
        [row] = tallies.flush_interval()
        assert row.requests == 1
        assert row.in_flight == 1.0
        rows.append(row)
    assert len({(row.at, row.source) for row in rows}) == len(rows), "the database takes each"
    counters.end(busy, 200, is_error=False)


def test_revisions_long_unused_are_forgotten(clock: Clock) -> None:
    tallies = TrafficCounters()
    for revision in range(100):
        counters = tallies.of(revision, LABEL)
        counters.end(counters.begin(), 200, is_error=False)
    waiting = tallies.of(7, LABEL).begin()
    clock.now += 2 * 3600
    tallies.flush_interval()
    assert list(tallies.by_revision) == [7]
    tallies.of(7, LABEL).end(waiting, 200, is_error=False)


# Over the gateway

database = pytest.mark.django_db(transaction=True)


@pytest.fixture
def short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.traffic.counters.INTERVAL_SECONDS", 0.5)


def noted() -> tuple[int, int]:
    rows = list(Traffic.objects.all())
    return sum(row.requests for row in rows), sum(row.errors for row in rows)


@database
@pytest.mark.usefixtures("short_spans")
def test_requests_and_errors_of_a_revision_are_noted(front: MakeFront) -> None:
    there = front(
        sends(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"),
    )
    for _ in range(3):
        there.ask()
    wait_for(lambda: noted() == (3, 0), "three requests, no error of ours")
    row = Traffic.objects.all()[0]
    assert row.revision == Revision.objects.get()
    assert len(row.latencies) == len(BOUNDS)


@database
@pytest.mark.usefixtures("short_spans")
def test_a_replica_that_does_not_answer_makes_an_error(front: MakeFront) -> None:
    there = front(closed_port())
    assert there.ask()[0] == 503
    wait_for(lambda: noted() == (1, 1), "one request, one error")


@database
@pytest.mark.usefixtures("short_spans")
def test_requests_under_way_are_noted_before_they_end(front: MakeFront) -> None:
    done = threading.Event()
    there = front(waits(done, answers(b"{}")))
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(there.ask) for _ in range(3)]
        wait_for(
            lambda: any(row.in_flight > 2.9 for row in Traffic.objects.all()), "three in flight"
        )
        assert noted() == (0, 0)
        done.set()
        assert [call.result()[0] for call in calls] == [200] * 3
    wait_for(lambda: noted() == (3, 0), "three requests")


@database
def test_rows_of_revisions_that_are_gone_are_left_out(front: MakeFront) -> None:
    front()
    revision = Revision.objects.get()
    now = timezone.now()
    write_traffic(
        [
            Traffic(revision_id=pk, at=now, source="a", latencies=empty_buckets())
            for pk in (revision.pk, revision.pk + 1000)
        ]
    )
    assert [row.revision_id for row in Traffic.objects.all()] == [revision.pk]


@database
def test_traffic_is_kept_for_a_week(front: MakeFront) -> None:
    front()
    now = timezone.now()
    Installation.objects.create(identity="this", purged_until=now)
    for days in (0, 6, 8):
        Traffic.objects.create(
            revision=Revision.objects.get(), at=now - timedelta(days=days), source="a"
        )
    drop_old_traffic()
    assert Traffic.objects.count() == 2


@database
def test_what_is_not_written_yet_is_written_at_the_end(front: MakeFront) -> None:
    front()
    revision = Revision.objects.get()

    async def use() -> None:
        recorder = TrafficRecorder()
        recorder.open()
        counters = recorder.counters.of(revision.pk, LABEL)
        counters.end(counters.begin(), 200, is_error=False)
        await recorder.close()

    asyncio.run(use())
    assert [row.requests for row in Traffic.objects.all()] == [1]
