"""Run a program once in an environment, wherever that is, away from everything else."""

from collections.abc import Callable
from typing import Any

from workspace.compute.abilities import RunsSandboxedJobs
from workspace.compute.base import BackendError
from workspace.compute.sandboxed_job import SandboxedJob
from workspace.models import Environment
from workspace.targets.backends import backend_of


def run_sandboxed_job(
    environment: Environment, job: SandboxedJob, log: Callable[[bytes], Any]
) -> int:
    """Run a job; return its exit code. Raises JobTimedOut and BackendError."""
    backend = backend_of(environment)
    if not isinstance(backend, RunsSandboxedJobs):
        raise BackendError(f"Targets of the kind {environment.kind} run no sandboxed jobs.")
    return backend.run_job(environment.reference, job, log)
