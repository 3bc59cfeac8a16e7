"""Which machines a target stands for, learned from its engine and kept as its `pool`."""

from functools import partial

from django.conf import settings

from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError, Unreachable
from workspace.compute.registry import access_to
from workspace.models import ComputeTarget, TargetKind
from workspace.patience import answer, ask

A_MOMENT_SECONDS = 1.0


def pool_of(access: TargetAccess, *, is_swarm: bool) -> str:
    """Ask an engine; what talks to engines takes half a second to import, so not at the start."""
    from workspace.compute import docker_identity

    return docker_identity.pool_of(access, is_swarm=is_swarm)


def settle_pool(target: ComputeTarget) -> None:
    """Learn the pool of a target whose engine was not asked yet. Raises BackendError."""
    if target.address and not target.pool:
        learn_pool(target)


def learn_pool(target: ComputeTarget) -> None:
    """Ask the engine behind a target who it is. Raises BackendError.

    An engine that took the place of another makes it a target of other machines.
    """
    if target.kind == TargetKind.LOCAL:
        return
    question = partial(pool_of, access_to(target), is_swarm=target.kind == TargetKind.SWARM)
    pool = answer(ask(question))
    if pool != target.pool:
        ComputeTarget.objects.filter(pk=target.pk).update(pool=pool)
        target.pool = pool


def pool_problem(target: ComputeTarget) -> str:
    """Say why it is not known which machines a target stands for; nothing when it is."""
    try:
        settle_pool(target)
    except BackendError as error:
        return f"The compute target {target.name} has not been reached yet: {error}"
    return ""


def engine_here() -> str:
    """Give the address of the engine at this machine's usual socket, if one answers there."""
    try:
        from workspace.compute.local_engine import local_engine

        found = answer(ask(partial(local_engine, settings.DOCKER_HOST)), A_MOMENT_SECONDS)
    except Unreachable:
        return ""
    return found.address if found else ""
