"""More or fewer replicas, as the traffic of a service requires."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Max, Q, Sum
from django.utils import timezone

from deploy.models import Revision, Service, Traffic
from deploy.rollout.plan import RevisionView, RolloutPlan
from deploy.rollout.scaling_rule import METRICS_LAG, LoadSample, wanted_replicas
from deploy.service_options import AutoscaleOptions
from deploy.traffic.counters import INTERVAL_SECONDS
from workspace.platform.clock import age_of, steady_now

SPAN = timedelta(seconds=INTERVAL_SECONDS)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServiceLoad:
    """The loads of a service's revisions, and when it was last used, as far as was looked for."""

    samples: Mapping[int, Sequence[LoadSample]] = field(default_factory=dict)
    used_at: datetime | None = None


def loads_of(services: Iterable[Service]) -> dict[int, ServiceLoad]:
    """Return the loads of those services that scale, read together for all with the same rule.

    What several processes saw in one span counts together. A use that is longer ago than it takes
    to fall asleep is not looked for.
    """
    alike: defaultdict[tuple[timedelta, timedelta], list[int]] = defaultdict(list)
    for service in services:
        if service.autoscale:
            rule = AutoscaleOptions(**service.autoscale)
            cool_down = timedelta(seconds=rule.cool_down_seconds)
            alike[cool_down, timedelta(seconds=rule.idle_seconds or 0)].append(service.pk)
    return {
        service: load
        for (cool_down, idle), some in alike.items()
        for service, load in _loads_since(some, max(cool_down, METRICS_LAG), idle + SPAN).items()
    }


def _loads_since(
    services: Sequence[int], span: timedelta, span_of_use: timedelta
) -> dict[int, ServiceLoad]:
    now = timezone.now()
    traffic = Traffic.objects.filter(revision__service__in=services, at__lte=now)
    samples: defaultdict[int, defaultdict[int, list[LoadSample]]]
    samples = defaultdict(lambda: defaultdict(list))
    for service, revision, at, together in (
        traffic.filter(at__gte=now - span)
        .values_list("revision__service", "revision", "at")
        .annotate(together=Sum("in_flight"))
    ):
        samples[service][revision].append(LoadSample(at, together))
    used = dict(
        traffic.filter(Q(requests__gt=0) | Q(in_flight__gt=0), at__gte=now - span_of_use)
        .values_list("revision__service")
        .annotate(last=Max("at"))
    )
    return {service: ServiceLoad(samples[service], used.get(service)) for service in services}


def replicas_to_set(
    service: Service, plan: RolloutPlan, load: ServiceLoad, verified_at: datetime | None
) -> dict[RevisionView, int]:
    """Return for the revisions that answer how many replicas they should have and have not.

    `verified_at` is when the service was last given something new to run.
    """
    if not service.autoscale:
        return {}
    rule = AutoscaleOptions(**service.autoscale)
    now = timezone.now()
    seen = load.used_at and load.used_at + SPAN
    known = (seen, verified_at, service.wake_requested_at, service.created_at)
    used_at = now - age_of(max(at for at in known if at))
    cool_down = timedelta(seconds=rule.cool_down_seconds)
    found = {}
    for view in plan.serving:
        # One that has just been verified has no loads of its own yet.
        at_least_until = (view.verified_at or steady_now()) + cool_down
        samples = load.samples.get(view.pk, [])
        wanted = wanted_replicas(rule, samples, now=now, used_at=used_at)
        if wanted and view.wanted > wanted and steady_now() < at_least_until:
            continue
        if wanted != view.wanted:
            found[view] = wanted
    return found


def autoscale(service: Service, plan: RolloutPlan) -> bool:
    """Set as many replicas of the revisions that answer as the requests call for.

    Returns whether any has another number now.
    """
    if not service.autoscale:
        return False
    verified = service.revisions.aggregate(at=Max("verified_at"))["at"]
    changed = replicas_to_set(service, plan, loads_of([service])[service.pk], verified)
    for view, wanted in changed.items():
        Revision.objects.filter(pk=view.pk).update(replica_count=wanted)
        log.info(
            "Revision %d of service %s goes from %d to %d replicas.",
            view.number,
            service.name,
            view.wanted,
            wanted,
        )
    return bool(changed)
