"""What follows from the traffic of a service: more or fewer replicas, or the way back."""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max, Q, Sum
from django.utils import timezone

from deploy.guard import Minute, why_back
from deploy.latencies import added
from deploy.models import Revision, Service, Traffic
from deploy.rollout import Plan
from deploy.scaling import LATEST, Load, wanted_replicas
from deploy.services import announce
from deploy.terms import Autoscale, RollbackRule
from deploy.traffic import SPAN_SECONDS

LAST_MINUTE = timedelta(seconds=60)
SPAN = timedelta(seconds=SPAN_SECONDS)
log = logging.getLogger(__name__)


def scale(service: Service, plan: Plan) -> bool:
    """Give the revisions that answer as many replicas as the requests call for.

    Tell whether any has another number now.
    """
    if not service.autoscale:
        return False
    has_changed = False
    rule = Autoscale(**service.autoscale)
    now = timezone.now()
    used_at = _used_at(service, rule)
    cool_down = timedelta(seconds=rule.cool_down_seconds)
    for standing in plan.answering:
        loads = _loads(standing.pk, now - max(cool_down, LATEST))
        # One that has just been proven has no loads of its own yet.
        at_least_until = (standing.proven_at or now) + cool_down
        wanted = wanted_replicas(rule, loads, now=now, used_at=used_at)
        if wanted and standing.wanted > wanted and now < at_least_until:
            continue
        if wanted != standing.wanted:
            has_changed = True
            Revision.objects.filter(pk=standing.pk).update(replica_count=wanted)
            log.info(
                "Revision %d of service %s goes from %d to %d replicas.",
                standing.number,
                service.name,
                standing.wanted,
                wanted,
            )
    return has_changed


def take_back(service: Service, plan: Plan) -> bool:
    """Take the newest revision back if it does worse than is allowed, and another may serve."""
    if not service.rollback or plan.fallback is None:
        return False
    newest = max(plan.asked, key=lambda one: one.number)
    reason = why_back(RollbackRule(**service.rollback), _last_minute(newest.pk, newest.proven_at))
    if not reason:
        return False
    with transaction.atomic():
        Revision.objects.filter(pk=newest.pk).update(failure=reason, weight=None)
        Revision.objects.filter(pk=plan.fallback.pk, replica_count=0).update(replica_count=1)
        announce(
            service,
            None,
            "service.roll_back",
            since=newest.number,
            back_to=plan.fallback.number,
            reason=reason,
        )
    log.warning("Revision %d of service %s: %s", newest.number, service.name, reason)
    return True


def _used_at(service: Service, rule: Autoscale) -> datetime:
    """Give when a service was last asked, woken, or given something new to run.

    What is longer ago than it takes to fall asleep is not looked for.
    """
    idle = timedelta(seconds=rule.idle_seconds or 0)
    seen = Traffic.objects.filter(
        Q(requests__gt=0) | Q(in_flight__gt=0),
        revision__in=service.revisions.values("pk"),
        at__gte=timezone.now() - idle - SPAN,
    ).aggregate(at=Max("at"))["at"]
    proven = service.revisions.aggregate(at=Max("proven_at"))["at"]
    known = (seen and seen + SPAN, proven, service.woken_at, service.created_at)
    return max(at for at in known if at)


def _loads(revision_id: int, since: datetime) -> list[Load]:
    """Give the loads of a revision, those that several processes saw in one span together."""
    rows = (
        Traffic.objects.filter(revision=revision_id, at__gte=since)
        .values("at")
        .annotate(together=Sum("in_flight"))
    )
    return [Load(row["at"], row["together"]) for row in rows]


def _last_minute(revision_id: int, since: datetime | None) -> Minute:
    began = max(timezone.now() - LAST_MINUTE, since or timezone.now() - LAST_MINUTE)
    rows = list(Traffic.objects.filter(revision=revision_id, at__gte=began))
    return Minute(
        sum(row.requests for row in rows),
        sum(row.errors for row in rows),
        added([row.latencies for row in rows]),
    )
