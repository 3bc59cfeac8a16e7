"""The revisions of a service as the rules of rollouts see them, and what follows for their rows."""

import logging

from django.utils import timezone

from deploy.models import Revision, Service
from deploy.rollout import ALL, Plan, Standing, plan
from deploy.selectors import counted, current_revision, revisions_of
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
    standings = [standing_of(one, one.ready) for one in counted(revisions_of(service))]
    return plan(standings, now=timezone.now(), is_watched=bool(service.rollback))


def prove(service: Service) -> None:
    """Note which revisions have all of their replicas for the first time: they may be asked."""
    revisions = counted(revisions_of(service))
    unproven = revisions.filter(proven_at=None, failure="", replica_count__gt=0)
    for revision in unproven:
        if revision.ready >= revision.replica_count:
            Revision.objects.filter(pk=revision.pk).update(proven_at=timezone.now(), quick_deaths=0)
            nudge_on_commit(group_of_service(service.pk), "event")
            log.info("Revision %d of service %s is proven.", revision.number, service.name)


def answering(service: Service) -> set[int]:
    """Give the numbers of the revisions that requests go to, or will once they are ready."""
    return {one.number for one in plan_of_service(service).answering}


def end_shadows(service: Service, *, but: int = 0) -> None:
    """Have no other revision be a shadow any more; none takes over only because it was one."""
    ended = service.revisions.filter(is_shadow=True).exclude(number=but)
    newest = max(ended.values_list("number", flat=True), default=0)
    current = current_revision(service)
    serving = current.number
    if current.failure:
        serving = max(answering(service), default=serving)
    ended.update(is_shadow=False)
    if newest > serving:
        service.revisions.filter(number__gt=serving, is_shadow=False).update(weight=0)
        if not service.revisions.filter(weight__gt=0).exists():
            service.revisions.filter(number=serving).update(weight=ALL)
