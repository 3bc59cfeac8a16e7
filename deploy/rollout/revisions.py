"""The revisions of a service as the rules of rollouts see them, and what follows for their rows."""

import logging

from django.utils import timezone

from deploy.models import Revision, Service
from deploy.rollout.plan import ALL_TRAFFIC, RevisionView, RolloutPlan, plan_rollout
from deploy.selectors import counted, current_revision, revisions_of
from runs.events import group_of_service, nudge_on_commit
from workspace.platform.clock import steady, steady_now

log = logging.getLogger(__name__)


def revision_view(revision: Revision, ready: int) -> RevisionView:
    return RevisionView(
        revision.pk,
        revision.number,
        wanted=revision.replica_count,
        ready=ready,
        weight=revision.weight,
        is_shadow=revision.is_shadow,
        verified_at=revision.verified_at and steady(revision.verified_at),
        has_failed=bool(revision.failure),
    )


def rollout_plan(service: Service) -> RolloutPlan:
    """Return which revisions of a service are to have replicas."""
    views = [revision_view(one, one.ready) for one in counted(revisions_of(service))]
    return plan_rollout(views, now=steady_now(), keeps_previous=bool(service.rollback))


def verify_ready_revisions(service: Service) -> None:
    """Note which revisions have all of their replicas for the first time: they may be asked."""
    revisions = counted(revisions_of(service))
    unverified = revisions.filter(verified_at=None, failure="", replica_count__gt=0)
    for revision in unverified:
        if revision.ready >= revision.replica_count:
            Revision.objects.filter(pk=revision.pk).update(
                verified_at=timezone.now(), consecutive_crashes=0
            )
            nudge_on_commit(group_of_service(service.pk), "event")
            log.info(
                "Revision %d of service %s passed its smoke test.", revision.number, service.name
            )


def serving_revision_numbers(service: Service) -> set[int]:
    """Return the numbers of the revisions that requests go to, or will once they are ready."""
    return {one.number for one in rollout_plan(service).serving}


def numbers_that_answer(revision: Revision) -> set[int]:
    """Return which serving revisions were seen to answer, where a new one would take over."""
    if revision.verified_at is not None or revision.is_shadow:
        return set()
    serving = serving_revision_numbers(revision.service) - {revision.number}
    answering = revision.service.revisions.filter(number__in=serving, has_answered=True)
    return set(answering.values_list("number", flat=True))


def end_shadows(service: Service, *, but: int = 0) -> None:
    """Have no other revision be a shadow any more; none takes over only because it was one."""
    ended = service.revisions.filter(is_shadow=True).exclude(number=but)
    newest = max(ended.values_list("number", flat=True), default=0)
    current = current_revision(service)
    serving = current.number
    if current.failure:
        serving = max(serving_revision_numbers(service), default=serving)
    ended.update(is_shadow=False)
    if newest > serving:
        service.revisions.filter(number__gt=serving, is_shadow=False).update(weight=0)
        if not service.revisions.filter(weight__gt=0).exists():
            service.revisions.filter(number=serving).update(weight=ALL_TRAFFIC)
