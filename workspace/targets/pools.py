"""Which machines a target stands for, learned from the target and kept as its `pool`."""

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

from django.conf import settings
from django.db import DatabaseError

from workspace.compute.abilities import IdentifiesMachines
from workspace.compute.base import BackendError, TargetUnreachable
from workspace.models import ComputeTarget
from workspace.targets.backends import backend_for
from workspace.targets.timeouts import (
    CALL_TIMEOUT_SECONDS,
    ask_target,
    call_result,
    start_call,
)

LOCAL_ENGINE_TIMEOUT_SECONDS = 1.0
log = logging.getLogger(__name__)


def ensure_pool_known(target: ComputeTarget) -> None:
    """Learn the pool of a target that was not asked for it yet. Raises BackendError."""
    if target.address and not target.pool:
        refresh_pool(target)


def refresh_pool(target: ComputeTarget) -> None:
    """Ask a target which machines it stands for. Raises BackendError.

    An engine that took the place of another makes it a target of other machines.
    """
    asked = _ask(target)
    if asked is not None:
        _keep(target, call_result(asked))


def learn_pools(targets: Iterable[ComputeTarget]) -> None:
    """Learn the pools of the targets that were not asked for them yet, asking all at once."""
    questions = []
    until = time.monotonic() + CALL_TIMEOUT_SECONDS
    for target in targets:
        if target.address and not target.pool:
            with _reported(target):
                questions.append((target, _ask(target)))
    for target, asked in questions:
        if asked is not None:
            with _reported(target):
                _keep(target, call_result(asked, until - time.monotonic()))


@contextmanager
def _reported(target: ComputeTarget) -> Iterator[None]:
    """Log what is wrong with one target, so that the others are asked all the same."""
    try:
        yield
    except DatabaseError:
        raise
    except BackendError as error:
        log.debug("Target %s: %s", target, error)
    except Exception:
        log.exception("Polling target %s failed", target)


def _ask(target: ComputeTarget) -> "Future[str] | None":
    backend = backend_for(target)
    if not isinstance(backend, IdentifiesMachines):
        return None
    return ask_target(target, "pool", backend.machines_id)


def _keep(target: ComputeTarget, pool: str) -> None:
    if not target.is_trusted:
        # An engine may say that it is any other: it is believed of its own team's targets alone.
        pool = f"team {target.team_id}: {pool}"[:100]
    if pool != target.pool:
        ComputeTarget.objects.filter(pk=target.pk).update(pool=pool)
        target.pool = pool


def pool_problem(target: ComputeTarget) -> str:
    """Return why it is not known which machines a target stands for; nothing when it is."""
    try:
        ensure_pool_known(target)
    except BackendError as error:
        return f"The compute target {target.name} has not been reached yet: {error}"
    return ""


def detect_local_engine() -> str:
    """Return the address of the engine at this machine's usual socket, if one answers there."""
    try:
        # What talks to engines takes half a second to import, so not at the start.
        from workspace.compute.engine.discovery import find_local_engine

        found = call_result(
            start_call(
                partial(find_local_engine, settings.DOCKER_HOST), group="this machine", key="engine"
            ),
            LOCAL_ENGINE_TIMEOUT_SECONDS,
        )
    except TargetUnreachable:
        return ""
    return found.address if found else ""
