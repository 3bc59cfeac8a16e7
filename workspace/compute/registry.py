"""Which backend serves which kind of compute target; each is imported when it is first used."""

from functools import cache
from importlib import import_module

from django.conf import settings

from workspace.compute.base import Backend
from workspace.models import ComputeTarget, TargetKind

BACKENDS: dict[str, str] = {TargetKind.LOCAL: "workspace.compute.local:LocalBackend"}


def backend_for(target: ComputeTarget) -> Backend:
    return backend_for_kind(target.kind)


def backend_for_kind(kind: str) -> Backend:
    """Give the backend of a kind of target, for what is the same on all targets of the kind."""
    return _make(BACKENDS[kind], str(settings.TRAINYARD_HOME))


@cache
def _make(path: str, home: str) -> Backend:
    module, _, name = path.partition(":")
    backend: Backend = getattr(import_module(module), name)(home)
    return backend
