"""The revisions of a service as the rules of rollouts see them, and what follows for their rows."""

import logging

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from deploy.models import ReplicaState, Revision, Service
from deploy.rollout import Plan, Standing, plan
from runs.events import group_of_service, nudge_on_commit

log = logging.getLogger(__name__)


def standing_of(revision: Revision, ready: int) -> Standing:
    return Standing(
        revision.pk,
        revision.number,
        wanted=revision.replica_count,
        ready=ready,
        weight=revision.weight,
        is_shadow=revision.is_shadow,
        proven_at=revision.proven_at,
        has_failed=bool(revision.failure),
    )


def plan_of_service(service: Service) -> Plan:
    """Say which revisions of a service are to have replicas."""
    standings = [standing_of(one, one.ready) for one in _counted(service)]  # type: ignore[attr-defined]
    return plan(standings, now=timezone.now(), is_watched=bool(service.rollback))


def prove(service: Service) -> None:
    """Note which revisions have all of their replicas for the first time: they may be asked."""
    unproven = _counted(service).filter(proven_at=None, failure="", replica_count__gt=0)
    for revision in unproven:
        if revision.ready >= revision.replica_count:  # type: ignore[attr-defined]
            Revision.objects.filter(pk=revision.pk).update(proven_at=timezone.now(), quick_deaths=0)
            nudge_on_commit(group_of_service(service.pk), "event")
            log.info("Revision %d of service %s is proven.", revision.number, service.name)


def _counted(service: Service) -> QuerySet[Revision]:
    ready = Count("replicas", filter=Q(replicas__state=ReplicaState.READY))
    return Revision.objects.filter(service=service).annotate(ready=ready).order_by("-number")
