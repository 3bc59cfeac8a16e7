"""Environments: the Python packages that processes run with, built once per specification."""

import json
import logging
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path

import django_rq
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac
from redis.exceptions import RedisError

from workspace.compute.access import ImageLogin
from workspace.compute.base import BackendError
from workspace.compute.registry import backend_of
from workspace.environments_spec import (
    CURATED,
    Curated,
    EnvironmentSpec,
    ServerKind,
    requirement_lines,
    serving_packages,
)
from workspace.errors import Conflict
from workspace.models import ComputeTarget, Environment, EnvironmentState, TargetKind
from workspace.sealing import seal, unseal

__all__ = [
    "CURATED",
    "Curated",
    "EnvironmentSpec",
    "ServerKind",
    "enqueue_build",
    "get_or_create",
    "image_login_of",
    "is_unwanted",
    "log_path",
    "login_mark",
    "opened_login",
    "recover_stale",
    "remove",
    "requirement_lines",
    "retry",
    "sealed_login",
    "serving_packages",
]

ABANDONED_AFTER = timedelta(seconds=15)
RETRY_FAILED_AFTER = timedelta(minutes=1)
BUILD_SECONDS = 3600
BUILD_JOB = "workspace.jobs.build_environment"
log = logging.getLogger(__name__)


def log_path(environment: Environment) -> Path:
    return Path(settings.TRAINYARD_HOME) / "environments" / f"{environment.digest}.log"


def get_or_create(target: ComputeTarget, spec: EnvironmentSpec) -> Environment:
    """Give the one environment of a specification on the machines of a target.

    One that failed a while ago, or whose files are gone, is to be built again.
    """
    environment, _ = Environment.objects.get_or_create(
        digest=spec.digest(_place_of(target)),
        defaults={
            "kind": target.kind,
            "target": None if target.kind == TargetKind.LOCAL else target,
            "spec": spec.to_json(),
        },
    )
    now = timezone.now()
    same = Environment.objects.filter(pk=environment.pk)
    same.update(last_used_at=now)
    if target.kind != TargetKind.LOCAL and _is_orphaned(environment):
        same.update(target=target)
        environment.refresh_from_db()
    same.filter(state=EnvironmentState.FAILED, built_at__lt=now - RETRY_FAILED_AFTER).update(
        state=EnvironmentState.PENDING, error=""
    )
    if environment.state == EnvironmentState.READY and not _is_there(environment):
        same.filter(state=EnvironmentState.READY).update(
            state=EnvironmentState.PENDING, reference=""
        )
    environment.refresh_from_db()
    return environment


def _is_orphaned(environment: Environment) -> bool:
    """Tell whether the target through which an environment was reached is removed."""
    return environment.target is None or environment.target.deleted_at is not None


def _is_there(environment: Environment) -> bool:
    return backend_of(environment).has_environment(environment.reference)


def _place_of(target: ComputeTarget) -> str:
    """Name where an environment is: an image is none for the same machine without containers."""
    if target.kind == TargetKind.LOCAL:
        return target.kind
    return f"{target.kind} {target.pool or target.pk}"


def enqueue_build(environment: Environment) -> None:
    """Ask a worker to build, after commit; asking often builds once."""
    if environment.state == EnvironmentState.PENDING:
        transaction.on_commit(partial(_enqueue, environment.pk, environment.digest))


def _enqueue(environment_id: int, digest: str) -> None:
    job_id = f"build-{digest[:32]}"
    try:
        queue = django_rq.get_queue()
        if job_id in queue.get_job_ids():  # not its status, which a worker killed over it leaves
            return
        queue.enqueue(BUILD_JOB, environment_id, job_id=job_id, job_timeout=BUILD_SECONDS)
    except RedisError as error:
        log.warning("The broker is away, so environment %s has to wait: %s", digest[:12], error)


def recover_stale() -> None:
    """Put builds whose worker is gone back to the start, so that they are asked for again."""
    Environment.objects.filter(
        Q(heartbeat_at=None) | Q(heartbeat_at__lt=timezone.now() - ABANDONED_AFTER),
        state=EnvironmentState.BUILDING,
    ).update(state=EnvironmentState.PENDING)


def is_unwanted(environment: Environment) -> bool:
    """Tell whether all who waited for an environment gave it up since it was last asked for."""
    environment.refresh_from_db(fields=["last_used_at"])
    waiting = environment.runs.filter(ended_at=None, cancel_requested_at=None)
    given_up = environment.runs.filter(cancel_requested_at__gt=environment.last_used_at)
    return given_up.exists() and not waiting.exists() and not environment.revisions.exists()


def image_login_of(environment: Environment) -> ImageLogin | None:
    """Give the login for the image that an environment starts from, from a run that brought it."""
    run = environment.runs.exclude(sealed_image_login="").order_by("-pk").first()
    return opened_login(run.sealed_image_login) if run else None


def sealed_login(login: ImageLogin | None) -> str:
    return seal(json.dumps(asdict(login))) if login else ""


def opened_login(sealed: str) -> ImageLogin | None:
    return ImageLogin(**json.loads(unseal(sealed))) if sealed else None


def login_mark(login: ImageLogin | None) -> str:
    """Give what tells logins apart and does not tell what they are."""
    if login is None:
        return ""
    return salted_hmac("image login", json.dumps(asdict(login)), algorithm="sha256").hexdigest()


def retry(environment: Environment) -> None:
    """Build a failed environment again now."""
    Environment.objects.filter(pk=environment.pk, state=EnvironmentState.FAILED).update(
        state=EnvironmentState.PENDING, error="", last_used_at=timezone.now()
    )
    environment.refresh_from_db()
    enqueue_build(environment)


def remove(environment: Environment) -> None:
    """Delete an environment and its files. Raises Conflict while anything uses it."""
    with transaction.atomic():
        locked = Environment.objects.select_for_update().get(pk=environment.pk)
        is_used = (
            locked.groups.filter(removed_at=None).exists()
            or locked.runs.filter(ended_at=None).exists()
        )
        if is_used or locked.state == EnvironmentState.BUILDING:
            raise Conflict(
                "This environment is being built or used: wait until its runs and services end."
            )
        locked.groups.update(environment=None)
        locked.delete()
    if locked.reference:
        try:
            backend_of(locked).discard(locked.reference)
        except BackendError as error:
            log.warning("%s is left for the next daily sweep: %s", locked.reference, error)
    log_path(locked).unlink(missing_ok=True)
