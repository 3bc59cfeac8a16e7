"""Durations counted by bounds, so that counts of many spans and processes may be added up."""

import math
from bisect import bisect_left
from collections.abc import Sequence

# In seconds. The last takes what is longer than all others.
BOUNDS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0),
    math.inf,
)


def bucket_of(seconds: float) -> int:
    """Return where a duration is counted: at the first bound that it does not exceed."""
    return bisect_left(BOUNDS, seconds)


def empty_buckets() -> list[int]:
    return [0] * len(BOUNDS)


def sum_buckets(several: Sequence[Sequence[int]]) -> list[int]:
    """Add counts up, bound by bound."""
    return [sum(at_bound) for at_bound in zip(*several, strict=True)] or empty_buckets()


def percentile(counts: Sequence[int], share: float) -> float | None:
    """Return the seconds that such a share (0 to 1) of the answers took at most; None without any.

    Between two bounds durations are taken to lie evenly, and nothing is said beyond the longest.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    below = 0
    for place, count in enumerate(counts):
        if count and below + count >= wanted:
            start = BOUNDS[place - 1] if place else 0.0
            end = BOUNDS[place]
            if math.isinf(end):
                return start
            return start + (end - start) * max(wanted - below, 0.0) / count
        below += count
    return BOUNDS[-2]
