"""A service's traffic as charts show it: rows of ten seconds put together into even steps."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from deploy.latencies import added, no_counts, percentile
from deploy.models import Revision, Service, Traffic
from deploy.selectors import revisions_of
from deploy.traffic import SPAN_SECONDS
from workspace.errors import FieldError, Invalid

WINDOWS = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
}
MOST_STEPS = 180
PERCENTILES = (50, 95, 99)
# Rows of a span are written a little after its end.
LATE_SECONDS = 2 * SPAN_SECONDS


@dataclass
class Sum:
    """What came to a revision in some span; `in_flight` adds up over processes and rows."""

    requests: int = 0
    errors: int = 0
    differing: int = 0
    in_flight: float = 0.0
    latencies: list[int] = field(default_factory=no_counts)

    def add(self, row: Traffic) -> None:
        self.requests += row.requests
        self.errors += row.errors
        self.differing += row.differing
        self.in_flight += row.in_flight
        if row.latencies:
            self.latencies = added([self.latencies, row.latencies])

    def milliseconds(self, percent: int) -> float | None:
        seconds = percentile(self.latencies, percent / 100)
        return None if seconds is None else 1000 * seconds


@dataclass(frozen=True)
class Line:
    """What came to one revision, step by step and altogether."""

    revision: Revision
    steps: dict[int, Sum]
    total: Sum


@dataclass(frozen=True)
class Series:
    """Lines over the same steps: `starts` are seconds since 1970, `step` seconds apart."""

    step: int
    starts: range
    lines: tuple[Line, ...]

    @property
    def seconds(self) -> int:
        return len(self.starts) * self.step

    @property
    def refresh_seconds(self) -> int:
        """Say how often a page asks anew: a long window changes slowly, and is much to read."""
        return min(max(self.step // 4, 5), 60)


def window_named(name: str) -> timedelta:
    if name not in WINDOWS:
        raise Invalid.of(FieldError("window", f"Use one of {', '.join(WINDOWS)}."))
    return WINDOWS[name]


def series_of(service: Service, window: timedelta) -> Series:
    """Give what came to each revision of a service that was asked within the window."""
    starts = steps_of(window, timezone.now().timestamp())
    rows = Traffic.objects.filter(
        revision__service=service,
        at__gte=datetime.fromtimestamp(starts.start, UTC),
        at__lt=datetime.fromtimestamp(starts.stop, UTC),
    )
    steps = summed(rows.iterator(), starts)
    revisions = revisions_of(service).filter(pk__in=steps).order_by("number")
    return Series(
        starts.step,
        starts,
        tuple(Line(one, steps[one.pk], total_of(steps[one.pk].values())) for one in revisions),
    )


def steps_of(window: timedelta, now: float) -> range:
    """Give the starts of the steps that cover a window up to what has been written by now."""
    spans = window // timedelta(seconds=SPAN_SECONDS)
    step = SPAN_SECONDS * -(-spans // MOST_STEPS)
    end = int(now - LATE_SECONDS) // step * step + step
    return range(end - step * (window // timedelta(seconds=step)), end, step)


def summed(rows: Iterable[Traffic], starts: range) -> dict[int, dict[int, Sum]]:
    """Add rows up by revision and by the step that they fall into."""
    found: dict[int, dict[int, Sum]] = defaultdict(dict)
    for row in rows:
        start = int(row.at.timestamp()) // starts.step * starts.step
        found[row.revision_id].setdefault(start, Sum()).add(row)
    return dict(found)


def total_of(sums: Iterable[Sum]) -> Sum:
    whole = Sum()
    for one in sums:
        whole.requests += one.requests
        whole.errors += one.errors
        whole.differing += one.differing
        whole.in_flight += one.in_flight
        whole.latencies = added([whole.latencies, one.latencies])
    return whole


def as_json(series: Series) -> dict[str, Any]:
    """Write lines as columns; where nothing was asked, there is no percentile."""
    return {
        "step_seconds": series.step,
        "at": list(series.starts),
        "revisions": [_line(line, series) for line in series.lines],
    }


def _line(line: Line, series: Series) -> dict[str, Any]:
    sums = [line.steps.get(start, Sum()) for start in series.starts]
    spans = series.step / SPAN_SECONDS
    return {
        "number": line.revision.number,
        "model": str(line.revision.model_version),
        "is_shadow": line.revision.is_shadow,
        "requests_per_second": [one.requests / series.step for one in sums],
        "errors_per_second": [one.errors / series.step for one in sums],
        "differing_per_second": [one.differing / series.step for one in sums],
        "in_flight": [one.in_flight / spans for one in sums],
        **{f"p{share}_ms": [one.milliseconds(share) for one in sums] for share in PERCENTILES},
    }
