"""What passed through this process: counts for each revision, written down every ten seconds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

from deploy.models import Revision, Traffic
from deploy.traffic.latency_histogram import bucket_of, empty_buckets
from workspace.retention import days_ago, delete_older

INTERVAL_SECONDS = 10
KEPT_DAYS = 7
FORGOTTEN_AFTER_SECONDS = 3600.0
SERVER_ERROR = 500


class RevisionLabel(NamedTuple):
    """How people know a revision; the number is 0 for what no revision answered."""

    team: str
    service: str
    number: int


@dataclass(frozen=True)
class CounterSnapshot:
    """What the counters held at a time; `busy` is the sum over requests of the seconds each took
    so far."""

    requests: int = 0
    errors: int = 0
    mismatches: int = 0
    busy: float = 0.0
    latencies: tuple[int, ...] = tuple(empty_buckets())


class RevisionCounters:
    """What this process saw of a revision since it started."""

    __slots__ = (
        "_busy",
        "_changed_at",
        "by_code",
        "errors",
        "in_flight",
        "label",
        "latencies",
        "mismatches",
        "requests",
        "seconds",
        "written",
    )

    def __init__(self, label: RevisionLabel) -> None:
        self.label = label
        self.requests = self.errors = self.mismatches = self.in_flight = 0
        self.by_code: dict[int | str, int] = {}
        self.latencies = empty_buckets()
        self.seconds = 0.0
        self.written = CounterSnapshot()
        self._busy = 0.0
        self._changed_at = time.monotonic()

    def begin(self) -> float:
        """Count a request in; hand what this gives to `end`."""
        now = time.monotonic()
        self._busy += self.in_flight * (now - self._changed_at)
        self._changed_at = now
        self.in_flight += 1
        return now

    def end(self, began: float, code: int | str, *, is_error: bool) -> float:
        """Count a request out, with the code of its answer; return the seconds that it took."""
        now = time.monotonic()
        self._busy += self.in_flight * (now - self._changed_at)
        self._changed_at = now
        self.in_flight -= 1
        took = now - began
        self.count(code, took, is_error=is_error)
        return took

    def abandon(self) -> None:
        """Take back a request whose client left before there was an answer."""
        now = time.monotonic()
        self._busy += self.in_flight * (now - self._changed_at)
        self._changed_at = now
        self.in_flight -= 1

    def count(self, code: int | str, took: float, *, is_error: bool) -> None:
        self.requests += 1
        self.errors += is_error
        self.by_code[code] = self.by_code.get(code, 0) + 1
        self.latencies[bucket_of(took)] += 1
        self.seconds += took

    def counts(self) -> CounterSnapshot:
        busy = self._busy + self.in_flight * (time.monotonic() - self._changed_at)
        return CounterSnapshot(
            self.requests, self.errors, self.mismatches, busy, tuple(self.latencies)
        )

    def is_idle_since(self, moment: float) -> bool:
        return not self.in_flight and self._changed_at < moment


class TrafficCounters:
    """The tallies of every revision that was asked lately. Belongs to one event loop."""

    def __init__(self) -> None:
        self.source = uuid4().hex
        self.by_revision: dict[int, RevisionCounters] = {}
        self.unrouted: dict[tuple[str, str], RevisionCounters] = {}
        self._span_began = time.time()
        self._span_began_at = time.monotonic()
        self._last_written = 0.0

    def of(self, revision_id: int, label: RevisionLabel) -> RevisionCounters:
        found = self.by_revision.get(revision_id)
        if found is None:
            found = self.by_revision[revision_id] = RevisionCounters(label)
        return found

    def unrouted_for(self, team: str, service: str) -> RevisionCounters:
        """Return the counters of requests to a service that came to no revision of it."""
        found = self.unrouted.get((team, service))
        if found is None:
            found = self.unrouted[team, service] = RevisionCounters(RevisionLabel(team, service, 0))
        return found

    def flush_interval(self) -> list[Traffic]:
        """Return rows of what came since the last time, and forget revisions long unused."""
        now = time.time()
        if now < self._span_began:
            # The clock was set back. These spans may have been written before, by its other time.
            self.source, self._span_began, self._last_written = uuid4().hex, now, 0.0
        began = self._span_began
        start = began - began % INTERVAL_SECONDS
        if start <= self._last_written:
            start = now - now % INTERVAL_SECONDS
        if start <= self._last_written:
            return []  # asked twice in one span: it goes on
        seconds = max(time.monotonic() - self._span_began_at, 0.001)
        self._span_began, self._span_began_at, self._last_written = now, time.monotonic(), start
        at = datetime.fromtimestamp(start, UTC)
        rows = []
        for revision_id, counters in self.by_revision.items():
            counts, before = counters.counts(), counters.written
            counters.written = counts
            if counts == before:
                continue
            rows.append(
                Traffic(
                    revision_id=revision_id,
                    at=at,
                    source=self.source,
                    requests=counts.requests - before.requests,
                    errors=counts.errors - before.errors,
                    in_flight=(counts.busy - before.busy) / seconds,
                    mismatches=counts.mismatches - before.mismatches,
                    latencies=[
                        new - old
                        for new, old in zip(counts.latencies, before.latencies, strict=True)
                    ],
                )
            )
        self._forget_unused()
        return rows

    def _forget_unused(self) -> None:
        long_ago = time.monotonic() - FORGOTTEN_AFTER_SECONDS
        for revision_id, counters in list(self.by_revision.items()):
            if counters.is_idle_since(long_ago):
                del self.by_revision[revision_id]
        for name, counters in list(self.unrouted.items()):
            if counters.is_idle_since(long_ago):
                del self.unrouted[name]


def write_traffic(rows: Sequence[Traffic]) -> None:
    """Store rows; those of revisions that are gone are left out."""
    if not rows:
        return
    asked = {row.revision_id for row in rows}
    known = set(Revision.objects.filter(pk__in=asked).values_list("pk", flat=True))
    Traffic.objects.bulk_create([row for row in rows if row.revision_id in known])


def drop_old_traffic() -> None:
    """Delete what nobody draws any more."""
    delete_older(Traffic, "at", days_ago(KEPT_DAYS))
