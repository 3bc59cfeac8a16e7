"""More or fewer replicas, as the traffic of a service requires."""

import logging
from datetime import datetime, timedelta

from django.db.models import Max, Q, Sum
from django.utils import timezone

from deploy.models import Revision, Service, Traffic
from deploy.rollout.plan import RolloutPlan
from deploy.rollout.scaling_rule import METRICS_LAG, LoadSample, wanted_replicas
from deploy.service_options import AutoscaleOptions
from deploy.traffic.counters import INTERVAL_SECONDS
from workspace.platform.clock import age_of

SPAN = timedelta(seconds=INTERVAL_SECONDS)
log = logging.getLogger(__name__)


def autoscale(service: Service, plan: RolloutPlan) -> bool:
    """Return the revisions that answer as many replicas as the requests call for.

    Tell whether any has another number now.
    """
    if not service.autoscale:
        return False
    has_changed = False
    rule = AutoscaleOptions(**service.autoscale)
    now = timezone.now()
    used_at = now - age_of(_used_at(service, rule))
    cool_down = timedelta(seconds=rule.cool_down_seconds)
    for view in plan.serving:
        loads = _loads(view.pk, now - max(cool_down, METRICS_LAG))
        # One that has just been verified has no loads of its own yet.
        at_least_until = (view.verified_at or now) + cool_down
        wanted = wanted_replicas(rule, loads, now=now, used_at=used_at)
        if wanted and view.wanted > wanted and now < at_least_until:
            continue
        if wanted != view.wanted:
            has_changed = True
            Revision.objects.filter(pk=view.pk).update(replica_count=wanted)
            log.info(
                "Revision %d of service %s goes from %d to %d replicas.",
                view.number,
                service.name,
                view.wanted,
                wanted,
            )
    return has_changed


def _used_at(service: Service, rule: AutoscaleOptions) -> datetime:
    """Return when a service was last asked, woken, or given something new to run.

    What is longer ago than it takes to fall asleep is not looked for.
    """
    idle = timedelta(seconds=rule.idle_seconds or 0)
    seen = Traffic.objects.filter(
        Q(requests__gt=0) | Q(in_flight__gt=0),
        revision__in=service.revisions.values("pk"),
        at__gte=timezone.now() - idle - SPAN,
        at__lte=timezone.now(),
    ).aggregate(at=Max("at"))["at"]
    verified = service.revisions.aggregate(at=Max("verified_at"))["at"]
    known = (seen and seen + SPAN, verified, service.wake_requested_at, service.created_at)
    return max(at for at in known if at)


def _loads(revision_id: int, since: datetime) -> list[LoadSample]:
    """Return the loads of a revision, those that several processes saw in one span together."""
    rows = (
        Traffic.objects.filter(revision=revision_id, at__gte=since, at__lte=timezone.now())
        .values("at")
        .annotate(together=Sum("in_flight"))
    )
    return [LoadSample(row["at"], row["together"]) for row in rows]
