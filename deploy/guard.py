"""When a revision is taken back by itself: by what its requests of the last minute were like."""

from dataclasses import dataclass

from deploy.latencies import percentile
from deploy.terms import RollbackRule


@dataclass(frozen=True)
class Minute:
    """What the gateways saw of a revision in the last minute."""

    requests: int
    errors: int
    latencies: list[int]


def why_back(rule: RollbackRule, seen: Minute) -> str:
    """Say in a sentence why a revision is to be taken back, or nothing."""
    if seen.requests < rule.min_requests:
        return ""
    rate = seen.errors / seen.requests
    if rule.error_rate is not None and rate > rule.error_rate:
        return (
            f"It was taken back: {seen.errors:,} of {seen.requests:,} requests in the last minute"
            f" ended in an error ({rate:.1%}), and {rule.error_rate:.1%} is allowed."
        )
    slow = percentile(seen.latencies, 0.95)
    if rule.p95_ms is not None and slow is not None and slow * 1000 > rule.p95_ms:
        return (
            f"It was taken back: the slowest 5 % of {seen.requests:,} requests in the last minute"
            f" took {slow * 1000:,.0f} ms or more, and {rule.p95_ms:,.0f} ms is allowed."
        )
    return ""
