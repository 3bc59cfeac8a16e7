"""When a revision is rolled back by itself: by what its requests of the last minute were like."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from deploy.events import record_change
from deploy.models import Revision, Service, Traffic
from deploy.rollout.plan import RevisionView, RolloutPlan
from deploy.service_options import RollbackRule
from deploy.traffic.latency_histogram import percentile, sum_buckets
from workspace.platform.clock import steady

LAST_MINUTE = timedelta(seconds=60)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecentTraffic:
    """What the gateways saw of a revision in the last minute."""

    requests: int
    errors: int
    latencies: list[int]


def rollback_reason(rule: RollbackRule, seen: RecentTraffic) -> str:
    """Return in a sentence why a revision is to be rolled back; nothing when it is not."""
    if seen.requests < rule.min_requests:
        return ""
    rate = seen.errors / seen.requests
    if rule.error_rate is not None and rate > rule.error_rate:
        return (
            f"It was rolled back: {seen.errors:,} of {seen.requests:,} requests in the last minute"
            f" ended in an error ({rate:.1%}), and {rule.error_rate:.1%} is allowed."
        )
    slow = percentile(seen.latencies, 0.95)
    if rule.p95_ms is not None and slow is not None and slow * 1000 > rule.p95_ms:
        return (
            f"It was rolled back: the slowest 5 % of {seen.requests:,} requests in the last minute"
            f" took {slow * 1000:,.0f} ms or more, and {rule.p95_ms:,.0f} ms is allowed."
        )
    return ""


def last_minutes_of(services: Iterable[Service]) -> dict[int, list[Traffic]]:
    """Return by revision what came in the last minute to those services that may be rolled back."""
    watched = [service.pk for service in services if service.rollback]
    if not watched:
        return {}
    now = timezone.now()
    rows: defaultdict[int, list[Traffic]] = defaultdict(list)
    for row in Traffic.objects.filter(
        revision__service__in=watched, at__gte=now - LAST_MINUTE, at__lte=now
    ):
        rows[row.revision_id].append(row)
    return rows


def reason_to_roll_back(
    service: Service, plan: RolloutPlan, last_minutes: Mapping[int, Sequence[Traffic]]
) -> str:
    """Return why the newest revision is to be rolled back; nothing when it is not."""
    if not service.rollback or plan.fallback is None:
        return ""
    newest = _newest_of(plan)
    rows = [
        row
        for row in last_minutes.get(newest.pk, [])
        if newest.verified_at is None or steady(row.at) >= newest.verified_at
    ]
    seen = RecentTraffic(
        sum(row.requests for row in rows),
        sum(row.errors for row in rows),
        sum_buckets([row.latencies for row in rows]),
    )
    return rollback_reason(RollbackRule(**service.rollback), seen)


def roll_back_if_failing(service: Service, plan: RolloutPlan) -> bool:
    """Take the newest revision back if it does worse than is allowed, and another may serve."""
    reason = reason_to_roll_back(service, plan, last_minutes_of([service]))
    if not reason or plan.fallback is None:
        return False
    newest = _newest_of(plan)
    with transaction.atomic():
        Revision.objects.filter(pk=newest.pk).update(failure=reason, weight=None)
        Revision.objects.filter(pk=plan.fallback.pk, replica_count=0).update(replica_count=1)
        record_change(
            service,
            None,
            "service.roll_back",
            since=newest.number,
            back_to=plan.fallback.number,
            reason=reason,
        )
    log.warning("Revision %d of service %s: %s", newest.number, service.name, reason)
    return True


def _newest_of(plan: RolloutPlan) -> RevisionView:
    return max(plan.asked, key=lambda one: one.number)
