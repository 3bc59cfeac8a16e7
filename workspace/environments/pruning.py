"""Remove images of environments that nothing has used for long, or that there is no room for."""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from workspace.compute.abilities import BuildsImages, KeepsVirtualenvs
from workspace.compute.base import BackendError
from workspace.compute.registry import KINDS
from workspace.environments import services
from workspace.environments.selectors import with_last_ends, with_uses
from workspace.models import ComputeTarget, Environment, EnvironmentState
from workspace.platform.errors import Conflict
from workspace.retention import days_ago
from workspace.targets.backends import backend_for, backend_of

log = logging.getLogger(__name__)


def prune_all() -> None:
    """Prune this machine and every target that has images; one that is silent, another day."""
    prune_this_machine()
    for target in ComputeTarget.objects.order_by("pk"):
        try:
            prune(target)
        except BackendError as error:
            log.warning("The images of %s are not pruned: %s", target.name, error)


def prune_this_machine() -> int:
    """Remove the environments of targets without containers that nothing has used for long.

    So it does with files of which no environment is known; return how many environments went.
    """
    before = days_ago(settings.TRAINYARD_KEEP_ENVIRONMENTS_DAYS)
    here = [name for name, info in KINDS.items() if info.is_this_machine]
    unused = _unused(Environment.objects.filter(kind__in=here))
    removed = sum(_is_removed(one) for one in unused if _last_use(one) < before)
    digests = set(Environment.objects.values_list("digest", flat=True))
    for kind in here:
        backend = backend_of(Environment(kind=kind))
        if isinstance(backend, KeepsVirtualenvs):
            backend.prune_virtualenvs(digests)
    return removed


def prune(target: ComputeTarget) -> int:
    """Remove what the target does not keep any longer; return how many environments that were."""
    backend = backend_for(target)
    if not isinstance(backend, BuildsImages):
        return 0
    before = timezone.now() - timedelta(days=target.images_kept_days)
    removed = 0
    for environment in _unused(Environment.objects.filter(target=target)):
        if _last_use(environment) < before or not _has_room(target, backend):
            removed += _is_removed(environment)
    backend.prune_images(set(Environment.objects.values_list("digest", flat=True)))
    return removed


def _unused(environments: QuerySet[Environment]) -> list[Environment]:
    """Return the environments that nothing uses now, the longest unused first."""
    over = environments.filter(state__in=[EnvironmentState.READY, EnvironmentState.FAILED])
    return sorted(with_last_ends(with_uses(over).filter(uses=0)), key=_last_use)


def _last_use(environment: Environment) -> datetime:
    times = (
        environment.last_used_at,
        environment.run_ended_at,  # type: ignore[attr-defined]
        environment.group_removed_at,  # type: ignore[attr-defined]
    )
    return max(time for time in times if time is not None)


def _has_room(target: ComputeTarget, backend: BuildsImages) -> bool:
    most = target.images_max_bytes
    return most is None or backend.stored_image_bytes() <= most


def _is_removed(environment: Environment) -> bool:
    try:
        services.remove_environment(environment)
    except Conflict:
        return False  # something began to use it just now
    return True
