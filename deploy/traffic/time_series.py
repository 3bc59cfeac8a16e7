"""A service's traffic as charts show it: rows of ten seconds put together into even steps."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from deploy.models import Revision, Service, Traffic
from deploy.selectors import revisions_of
from deploy.traffic.counters import INTERVAL_SECONDS
from deploy.traffic.latency_histogram import empty_buckets, percentile, sum_buckets
from workspace.platform.errors import FieldError, Invalid

WINDOWS = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
}
MAX_STEPS = 180
PERCENTILES = (50, 95, 99)
# Rows of a span are written a little after its end.
LATE_SECONDS = 2 * INTERVAL_SECONDS


@dataclass
class TrafficSum:
    """What came to a revision in some span; `in_flight` adds up over processes and rows."""

    requests: int = 0
    errors: int = 0
    mismatches: int = 0
    in_flight: float = 0.0
    latencies: list[int] = field(default_factory=empty_buckets)

    def add(self, row: Traffic) -> None:
        self.requests += row.requests
        self.errors += row.errors
        self.mismatches += row.mismatches
        self.in_flight += row.in_flight
        if row.latencies:
            self.latencies = sum_buckets([self.latencies, row.latencies])

    def milliseconds(self, percent: int) -> float | None:
        seconds = percentile(self.latencies, percent / 100)
        return None if seconds is None else 1000 * seconds


@dataclass(frozen=True)
class RevisionSeries:
    """What came to one revision, step by step and altogether."""

    revision: Revision
    steps: dict[int, TrafficSum]
    total: TrafficSum


@dataclass(frozen=True)
class TrafficSeries:
    """Lines over the same steps: `starts` are seconds since 1970, `step` seconds apart."""

    step: int
    starts: range
    lines: tuple[RevisionSeries, ...]

    @property
    def seconds(self) -> int:
        return len(self.starts) * self.step

    @property
    def refresh_seconds(self) -> int:
        """Return how often a page asks anew: a long window changes slowly, and is much to read."""
        return min(max(self.step // 4, 5), 60)


def window_named(name: str) -> timedelta:
    if name not in WINDOWS:
        raise Invalid.of(FieldError("window", f"Use one of {', '.join(WINDOWS)}."))
    return WINDOWS[name]


def series_of(service: Service, window: timedelta) -> TrafficSeries:
    """Return what came to each revision of a service that was asked within the window."""
    starts = steps_of(window, timezone.now().timestamp())
    rows = Traffic.objects.filter(
        revision__service=service,
        at__gte=datetime.fromtimestamp(starts.start, UTC),
        at__lt=datetime.fromtimestamp(starts.stop, UTC),
    )
    steps = summed(rows.iterator(), starts)
    revisions = revisions_of(service).filter(pk__in=steps).order_by("number")
    return TrafficSeries(
        starts.step,
        starts,
        tuple(
            RevisionSeries(one, steps[one.pk], total_of(steps[one.pk].values()))
            for one in revisions
        ),
    )


def steps_of(window: timedelta, now: float) -> range:
    """Return the starts of the steps that cover a window up to what has been written by now."""
    spans = window // timedelta(seconds=INTERVAL_SECONDS)
    step = INTERVAL_SECONDS * -(-spans // MAX_STEPS)
    end = int(now - LATE_SECONDS) // step * step + step
    return range(end - step * (window // timedelta(seconds=step)), end, step)


def summed(rows: Iterable[Traffic], starts: range) -> dict[int, dict[int, TrafficSum]]:
    """Add rows up by revision and by the step that they fall into."""
    found: dict[int, dict[int, TrafficSum]] = defaultdict(dict)
    for row in rows:
        start = int(row.at.timestamp()) // starts.step * starts.step
        found[row.revision_id].setdefault(start, TrafficSum()).add(row)
    return dict(found)


def total_of(sums: Iterable[TrafficSum]) -> TrafficSum:
    whole = TrafficSum()
    for one in sums:
        whole.requests += one.requests
        whole.errors += one.errors
        whole.mismatches += one.mismatches
        whole.in_flight += one.in_flight
        whole.latencies = sum_buckets([whole.latencies, one.latencies])
    return whole


def as_json(series: TrafficSeries) -> dict[str, Any]:
    """Write lines as columns; where nothing was asked, there is no percentile."""
    return {
        "step_seconds": series.step,
        "at": list(series.starts),
        "revisions": [_line(line, series) for line in series.lines],
    }


def _line(line: RevisionSeries, series: TrafficSeries) -> dict[str, Any]:
    sums = [line.steps.get(start, TrafficSum()) for start in series.starts]
    spans = series.step / INTERVAL_SECONDS
    return {
        "number": line.revision.number,
        "model": str(line.revision.model_version),
        "is_shadow": line.revision.is_shadow,
        "requests_per_second": [one.requests / series.step for one in sums],
        "errors_per_second": [one.errors / series.step for one in sums],
        "mismatches_per_second": [one.mismatches / series.step for one in sums],
        "in_flight": [one.in_flight / spans for one in sums],
        **{f"p{share}_ms": [one.milliseconds(share) for one in sums] for share in PERCENTILES},
    }
