"""Environments: the Python packages that processes run with, built once per specification."""

import json
import logging
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from workspace.compute.access import ImageLogin
from workspace.compute.base import BackendError
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.models import ComputeTarget, Environment, EnvironmentState, Team
from workspace.platform.background_jobs import JobKind
from workspace.platform.broker import JobQueue
from workspace.platform.encryption import decrypt, encrypt
from workspace.platform.errors import Conflict
from workspace.targets.backends import backend_of

RETRY_FAILED_AFTER = timedelta(minutes=1)
BUILD_SECONDS = 3600
log = logging.getLogger(__name__)


def log_path(environment: Environment) -> Path:
    return Path(settings.TRAINYARD_HOME) / "environments" / f"{environment.digest}.log"


def get_or_create(target: ComputeTarget, spec: EnvironmentSpec, team: Team) -> Environment:
    """Return the one environment of a specification on the machines of a target.

    Without containers each team has its own. One that failed a while ago, or whose files are gone
    or were changed, is to be built again.
    """
    environment, _ = Environment.objects.get_or_create(
        digest=spec.digest(_machines_key(target, team)),
        defaults={
            "kind": target.kind,
            "target": None if target.kind_info.is_this_machine else target,
            "spec": spec.to_json(),
        },
    )
    now = timezone.now()
    same = Environment.objects.filter(pk=environment.pk)
    same.update(last_used_at=now)
    if not target.kind_info.is_this_machine and _is_orphaned(environment):
        same.update(target=target)
        environment.refresh_from_db()
    is_due = Q(built_at__lt=now - RETRY_FAILED_AFTER) | Q(built_at__gt=now)  # by a clock ahead
    same.filter(is_due, state=EnvironmentState.FAILED).update(
        state=EnvironmentState.PENDING, error=""
    )
    environment.refresh_from_db()
    renew_if_gone(environment)
    return environment


def renew_if_gone(environment: Environment) -> None:
    """Let an environment be built again whose files are not there as they were built."""
    if environment.state == EnvironmentState.READY and not _is_there(environment):
        Environment.objects.filter(pk=environment.pk, state=EnvironmentState.READY).update(
            state=EnvironmentState.PENDING, reference=""
        )
        environment.refresh_from_db()


def _is_orphaned(environment: Environment) -> bool:
    """Return whether the target through which an environment was reached is removed."""
    return environment.target is None or environment.target.deleted_at is not None


def _is_there(environment: Environment) -> bool:
    return backend_of(environment).has_environment(environment.reference)


def _machines_key(target: ComputeTarget, team: Team) -> str:
    """Name where an environment is: an image is none for the same machine without containers."""
    if target.kind_info.is_this_machine:
        return f"{target.kind} {team.pk}"
    return f"{target.kind} {target.pool or target.pk}"


def enqueue_build(environment: Environment) -> None:
    """Ask a worker to build, after commit; asking often builds once."""
    if environment.state == EnvironmentState.PENDING:
        transaction.on_commit(partial(BUILD.enqueue, environment.pk))


def requeue_abandoned_builds() -> None:
    """Let builds whose worker is gone wait again; who needs them enqueues them."""
    for environment in BUILD.abandoned():
        BUILD.take_from(environment, state=EnvironmentState.PENDING)


def is_build_abandoned(environment: Environment) -> bool:
    """Return whether all runs that waited for an environment were canceled since its last use."""
    environment.refresh_from_db(fields=["last_used_at"])
    waiting = environment.runs.filter(ended_at=None, cancel_requested_at=None)
    given_up = environment.runs.filter(cancel_requested_at__gt=environment.last_used_at)
    return given_up.exists() and not waiting.exists() and not environment.revisions.exists()


BUILD = JobKind(
    model=Environment,
    queue=JobQueue.BUILDS,
    function="workspace.environments.jobs.build_environment",
    timeout_seconds=BUILD_SECONDS,
    waiting=EnvironmentState.PENDING,
    running=EnvironmentState.BUILDING,
    done=EnvironmentState.READY,
    failed=EnvironmentState.FAILED,
    log_path=log_path,
    ended_at="built_at",
    expected_errors=(BackendError,),
    is_wanted=lambda environment: not is_build_abandoned(environment),
    canceled="Build canceled: nothing waits for this environment any more.",
)


def image_login_of(environment: Environment) -> ImageLogin | None:
    """Return the login for an environment's base image, from a run that brought it."""
    run = environment.runs.exclude(encrypted_image_login="").order_by("-pk").first()
    return decrypted_login(run.encrypted_image_login) if run else None


def encrypted_login(login: ImageLogin | None) -> str:
    return encrypt(json.dumps(asdict(login))) if login else ""


def decrypted_login(encrypted: str) -> ImageLogin | None:
    return ImageLogin(**json.loads(decrypt(encrypted))) if encrypted else None


def login_fingerprint(login: ImageLogin | None) -> str:
    """Return what tells logins apart and does not tell what they are."""
    if login is None:
        return ""
    return salted_hmac("image login", json.dumps(asdict(login)), algorithm="sha256").hexdigest()


def retry_build(environment: Environment) -> None:
    """Build a failed environment again now."""
    Environment.objects.filter(pk=environment.pk, state=EnvironmentState.FAILED).update(
        state=EnvironmentState.PENDING, error="", last_used_at=timezone.now()
    )
    environment.refresh_from_db()
    enqueue_build(environment)


def remove_environment(environment: Environment) -> None:
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
