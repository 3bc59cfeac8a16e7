"""Run a program once in an environment, wherever that is, away from everything else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings

from workspace.compute.base import BackendError
from workspace.compute.errand import Errand
from workspace.compute.registry import access_to
from workspace.models import Environment, TargetKind


def run_errand(environment: Environment, errand: Errand, log: Callable[[bytes], Any]) -> int:
    """Run an errand; give its exit code. Raises TooLong and BackendError."""
    if environment.kind == TargetKind.LOCAL:
        from workspace.compute.local_errands import run_here

        return run_here(Path(settings.TRAINYARD_HOME) / environment.reference, errand, log)
    if environment.target is None:
        raise BackendError("The compute target that held this environment was removed.")
    from workspace.compute.docker_errands import run_on_engine

    return run_on_engine(access_to(environment.target), environment.reference, errand, log)
