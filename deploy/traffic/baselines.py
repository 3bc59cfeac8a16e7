"""The baseline of a service: set from kept requests or a file, and held against later requests."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from deploy.events import record_change
from deploy.models import LoggedRequest, Service
from deploy.traffic.drift import (
    MAX_ROWS,
    MIN_ROWS,
    Comparison,
    FeatureHistogram,
    Features,
    baseline_of,
    compare,
    rows_in,
)
from workspace.platform.errors import FieldError, Invalid

FROM_REQUESTS, FROM_FILE = "requests", "file"
LARGEST_FILE = 20 * 1024 * 1024
CLIENT_ERROR = 400
BODIES_AT_ONCE = 100


@dataclass(frozen=True)
class DriftReport:
    """Requests held against the baseline; without enough of them there is nothing to say."""

    set_at: datetime
    source: str
    baseline_rows: int
    rows: int
    left_out: int
    comparisons: list[Comparison]

    @property
    def is_enough(self) -> bool:
        return self.rows >= MIN_ROWS

    @property
    def missing(self) -> int:
        return max(MIN_ROWS - self.rows, 0)


def set_from_requests(*, service: Service, by: User | None) -> None:
    """Make the requests that are kept now the baseline."""
    rows, _ = _rows_of(LoggedRequest.objects.filter(service=service))
    if len(rows) < MIN_ROWS:
        raise Invalid.of(
            FieldError(
                "source",
                f"A baseline needs at least {MIN_ROWS} instances; the logged requests hold"
                f" {len(rows)} that can be read. Log more requests, or upload a file.",
            )
        )
    _set(service, by, rows, FROM_REQUESTS)


def set_from_file(*, service: Service, by: User | None, content: bytes) -> None:
    """Make the instances of a JSON file the baseline."""
    rows = read_instances(content)
    if len(rows) < MIN_ROWS:
        raise Invalid.of(
            FieldError(
                "file",
                f"A baseline needs at least {MIN_ROWS} instances; this file holds {len(rows)}.",
            )
        )
    _set(service, by, rows, FROM_FILE)


def read_instances(content: bytes) -> list[Features]:
    """Read a list of instances, a request's body, or one instance on each line."""
    if len(content) > LARGEST_FILE:
        raise Invalid.of(FieldError("file", f"Use a file of at most {LARGEST_FILE:,} bytes."))
    try:
        return rows_in(json.loads(content))[:MAX_ROWS]
    except (ValueError, RecursionError):
        lines = content.splitlines()
    try:
        return rows_in([json.loads(line) for line in lines if line.strip()])[:MAX_ROWS]
    except (ValueError, RecursionError) as error:
        words = 'Use JSON: a list of instances, {"instances": [...]}, or one instance on each line.'
        raise Invalid.of(FieldError("file", f"{words} {error}.")) from None


@transaction.atomic
def clear(*, service: Service, by: User | None) -> None:
    """Forget the baseline."""
    Service.objects.filter(pk=service.pk).update(baseline={})
    record_change(service, by, "service.clear_baseline")


def drift_report(service: Service) -> DriftReport | None:
    """Hold the requests that were kept since the baseline was set against it."""
    stored = service.baseline
    if not stored:
        return None
    set_at = parse_datetime(stored["at"])
    if set_at is None:
        raise ValueError(f"the baseline of {service} has no time")
    later = LoggedRequest.objects.filter(service=service, at__gt=set_at)
    rows, left_out = _rows_of(later)
    baseline = {name: FeatureHistogram.from_json(one) for name, one in stored["features"].items()}
    comparisons = compare(baseline, rows) if len(rows) >= MIN_ROWS else []
    return DriftReport(set_at, stored["source"], stored["rows"], len(rows), left_out, comparisons)


@transaction.atomic
def _set(service: Service, by: User | None, rows: list[Features], source: str) -> None:
    features = baseline_of(rows)
    if not features:
        raise Invalid.of(FieldError(source, "The instances hold no values that can be compared."))
    baseline = {
        "at": timezone.now().isoformat(),
        "source": source,
        "rows": len(rows),
        "features": {name: one.to_json() for name, one in features.items()},
    }
    Service.objects.filter(pk=service.pk).update(baseline=baseline)
    record_change(service, by, "service.set_baseline", source=source, rows=len(rows))


def _rows_of(logged: Any) -> tuple[list[Features], int]:
    """Return the instances of good requests, the newest first, and how many could not be read."""
    kept = logged.filter(status__lt=CLIENT_ERROR).order_by("-pk")
    bodies: Iterable[str] = kept.values_list("request", flat=True).iterator(BODIES_AT_ONCE)
    rows: list[Features] = []
    left_out = 0
    for body in bodies:
        try:
            found = rows_in(json.loads(body))
        except (ValueError, RecursionError):
            found = []
        left_out += not found
        rows += found
        if len(rows) >= MAX_ROWS:
            break
    return rows[:MAX_ROWS], left_out
