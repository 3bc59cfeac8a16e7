"""The queue's job that builds an environment: short, and safe to run twice."""

from typing import Any

from workspace.compute.base import TargetUnreachable
from workspace.environments.services import BUILD, image_login_of
from workspace.models import Environment
from workspace.platform.background_jobs import JobPostponed, LogWriter, run_job
from workspace.targets.backends import backend_of


def build_environment(environment_id: int) -> None:
    """Build an environment, unless another worker does or did."""
    run_job(BUILD, environment_id, _build)


def _build(environment: Environment, write_log: LogWriter) -> dict[str, Any]:
    backend = backend_of(environment)
    login = image_login_of(environment)
    try:
        built = backend.prepare(environment.digest, environment.spec, write_log, login)
    except TargetUnreachable as error:
        raise JobPostponed(str(error)) from error
    return {
        "reference": built.reference,
        "packages": dict(built.packages),
        "versions": dict(built.versions),
        "size_bytes": built.size_bytes,
    }
