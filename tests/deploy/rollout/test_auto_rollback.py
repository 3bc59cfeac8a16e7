"""When the newest revision is taken back."""

import pytest

from deploy.rollout.auto_rollback import RecentTraffic, rollback_reason
from deploy.service_options import RollbackRule
from deploy.traffic.latency_histogram import bucket_of, empty_buckets


def minute(requests: int, errors: int = 0, seconds: float = 0.004) -> RecentTraffic:
    counts = empty_buckets()
    counts[bucket_of(seconds)] = requests
    return RecentTraffic(requests, errors, counts)


ERRORS, SLOW = RollbackRule(error_rate=0.05), RollbackRule(p95_ms=100)
# 400 ms is counted between the bounds 300 and 500, in which durations are taken to lie evenly: 95 %
# of them take at most 300 + 0.95 * 200 ms.
TOO_SLOW = "took 490 ms or more, and 100 ms is allowed."
TABLE = {
    "it does well": (ERRORS, minute(100), ""),
    "as many errors as allowed": (ERRORS, minute(100, 5), ""),
    "more than allowed": (
        ERRORS,
        minute(1000, 51),
        "It was rolled back: 51 of 1,000 requests in the last minute ended in an error (5.1%),"
        " and 5.0% is allowed.",
    ),
    "too few requests to tell": (ERRORS, minute(19, 19), ""),
    "enough requests to tell": (RollbackRule(error_rate=0.5, min_requests=2), minute(2, 2), "2 of"),
    "it is quick": (SLOW, minute(100, 50), ""),
    "it is slow": (SLOW, minute(100, 0, 0.4), TOO_SLOW),
    "both are asked for and one is not kept": (
        RollbackRule(error_rate=0.05, p95_ms=100),
        minute(100, 0, 0.4),
        TOO_SLOW,
    ),
    "no error is allowed": (RollbackRule(error_rate=0.0), minute(50, 1), "0.0% is allowed"),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_revision_is_taken_back_by_what_it_did(case: str) -> None:
    rule, seen, words = TABLE[case]
    reason = rollback_reason(rule, seen)
    assert words in reason
    assert bool(reason) == bool(words)
