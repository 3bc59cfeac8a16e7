"""Environments over REST: what a run may ask for, and the exact versions in what was built."""

from datetime import datetime
from typing import Any

from ninja import Router, Schema
from pydantic import Field

from workspace.accounts.selectors import team_for
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.environments.curated import curated_environments, in_display_order
from workspace.environments.selectors import environments_of
from workspace.models import Environment, EnvironmentState
from workspace.platform.requests import ApiRequest

router = Router(tags=["environments"])


class CuratedOut(Schema):
    framework_version: str
    gpu: bool
    requirements: list[str]
    pythons: list[str] = Field(description="The Python versions that will do, the best one first.")
    versions: dict[str, str] = Field(
        description="Exact versions in the newest one that was built; empty before the first."
    )


class EnvironmentOut(Schema):
    digest: str
    target: str | None = Field(description="The target that holds it; null: the server itself.")
    state: EnvironmentState
    framework_version: str
    gpu: bool
    requirements: list[str]
    conda_packages: list[str]
    image: str
    reference: str
    error: str
    versions: dict[str, str]
    packages: dict[str, str]
    size_bytes: int
    built_at: datetime | None
    last_used_at: datetime


class EnvironmentsOut(Schema):
    curated: list[CuratedOut]
    environments: list[EnvironmentOut]


@router.get("teams/{slug}/environments", response=EnvironmentsOut, summary="A team's environments")
def list_environments(request: ApiRequest, slug: str) -> dict[str, Any]:
    """Return the framework versions on offer, and the environments that the team used."""
    team = team_for(request.auth, slug)
    return {
        "curated": [
            {
                "framework_version": offer.framework_version,
                "gpu": offer.gpu,
                "requirements": offer.requirements,
                "pythons": list(offer.framework.pythons),
                "versions": dict(offer.versions),
            }
            for offer in curated_environments(team)
        ],
        "environments": [
            _shown(environment) for environment in environments_of(team).select_related("target")
        ],
    }


def _shown(environment: Environment) -> dict[str, Any]:
    spec = EnvironmentSpec.from_json(environment.spec)
    return {
        "digest": environment.digest,
        "target": environment.target.name if environment.target else None,
        "state": environment.state,
        "framework_version": spec.framework_version,
        "gpu": spec.gpu,
        "requirements": list(spec.packages) if spec.image else spec.requirements,
        "conda_packages": list(spec.conda),
        "image": spec.image,
        "reference": environment.reference,
        "error": environment.error,
        "versions": in_display_order(environment.versions),
        "packages": environment.packages,
        "size_bytes": environment.size_bytes,
        "built_at": environment.built_at,
        "last_used_at": environment.last_used_at,
    }
