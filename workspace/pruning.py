"""Remove images of environments that nothing has used for long, or that there is no room for."""

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import django_rq
from django.db.models import Count, Max, Q
from django.utils import timezone
from redis.exceptions import RedisError

from workspace import environments
from workspace.compute.base import BackendError
from workspace.compute.registry import images_of
from workspace.errors import Conflict
from workspace.models import ComputeTarget, Environment, EnvironmentState

if TYPE_CHECKING:
    from workspace.compute.docker_images import EngineImages

PRUNE_JOB = "workspace.pruning.prune_all"
PRUNE_SECONDS = 3600
log = logging.getLogger(__name__)


def enqueue_prune() -> None:
    """Ask a worker to prune: engines may take their time."""
    try:
        django_rq.get_queue().enqueue(PRUNE_JOB, job_id="prune", job_timeout=PRUNE_SECONDS)
    except RedisError as error:
        log.warning("The broker is away, so images are not pruned now: %s", error)


def prune_all() -> None:
    """Prune every target that has images; one that does not answer is left for another day."""
    for target in ComputeTarget.objects.order_by("pk"):
        try:
            prune(target)
        except BackendError as error:
            log.warning("The images of %s are not pruned: %s", target.name, error)


def prune(target: ComputeTarget) -> int:
    """Remove what the target does not keep any longer; give how many environments that were."""
    images = images_of(target)
    if images is None:
        return 0
    try:
        before = timezone.now() - timedelta(days=target.images_kept_days)
        removed = 0
        for environment in _unused(target):
            if _last_use(environment) < before or not _has_room(target, images):
                removed += _is_removed(environment)
        images.tidy(set(Environment.objects.values_list("digest", flat=True)))
        return removed
    finally:
        images.close()


def _unused(target: ComputeTarget) -> list[Environment]:
    """Give the environments that nothing uses now, the longest unused first."""
    found = (
        Environment.objects.filter(
            target=target, state__in=[EnvironmentState.READY, EnvironmentState.FAILED]
        )
        .annotate(
            uses=Count("runs", filter=Q(runs__ended_at=None))
            + Count("groups", filter=Q(groups__removed_at=None)),
            run_ended_at=Max("runs__ended_at"),
            group_removed_at=Max("groups__removed_at"),
        )
        .filter(uses=0)
    )
    return sorted(found, key=_last_use)


def _last_use(environment: Environment) -> datetime:
    times = (
        environment.last_used_at,
        environment.run_ended_at,  # type: ignore[attr-defined]
        environment.group_removed_at,  # type: ignore[attr-defined]
    )
    return max(time for time in times if time is not None)


def _has_room(target: ComputeTarget, images: "EngineImages") -> bool:
    most = target.images_max_bytes
    return most is None or images.stored_bytes() <= most


def _is_removed(environment: Environment) -> bool:
    try:
        environments.remove(environment)
    except Conflict:
        return False  # something began to use it just now
    return True
