"""How many replicas a revision should have, by the requests that were in flight. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from deploy.service_options import AutoscaleOptions

# What is written of a span comes when it is over, so this reaches back to the last one.
METRICS_LAG = timedelta(seconds=25)


@dataclass(frozen=True)
class LoadSample:
    """Requests that were in flight on average in some seconds from `at` on."""

    at: datetime
    in_flight: float


def replicas_for(rule: AutoscaleOptions, in_flight: float) -> int:
    """Return how many replicas so many requests at once call for."""
    each = rule.requests_per_replica * rule.target_utilization / 100
    # What is a hair above a whole number by rounding alone asks for no further replica.
    wanted = math.ceil(round(in_flight / each, 6))
    return min(max(wanted, rule.min_replicas), rule.max_replicas)


def wanted_replicas(
    rule: AutoscaleOptions, loads: Sequence[LoadSample], *, now: datetime, used_at: datetime
) -> int:
    """Return how many replicas there should be now.

    More come as soon as a load calls for them; they go once no load within the cool-down did. A
    service that was last used longer ago than `idle_seconds` has none.
    """
    if rule.idle_seconds is not None and now - used_at >= timedelta(seconds=rule.idle_seconds):
        return 0
    since = now - max(timedelta(seconds=rule.cool_down_seconds), METRICS_LAG)
    recent = [one.in_flight for one in loads if one.at >= since]
    return replicas_for(rule, max(recent, default=0.0))
