"""Compute targets over REST: what they have and allow, and who may use them."""

from datetime import datetime
from typing import Any

from django.http import HttpResponse
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field

from workspace.api_auth import ADMIN_CALLERS
from workspace.compute.trial import Outcome
from workspace.errors import NotFound
from workspace.models import ComputeTarget, Role, TargetGrant, TargetKind, Team
from workspace.pools import pool_problem
from workspace.requests import ApiRequest
from workspace.selectors import own_target, sharers_of, target_for, targets_for, team_for
from workspace.target_states import TargetState, target_state, target_states
from workspace.targets import (
    add_target,
    delete_target,
    grant_target,
    revoke_grant,
    update_target,
)
from workspace.trials import Trial, last_trial, request_trial, trial_within

router = Router(tags=["compute targets"])

A_SECOND = 1.0
NO_LIMIT = "Null: no limit but the machines'."
SHARED_FOLDER = "Of a Swarm: the path at which every node has the same disk, for checkpoints."
LEFT_IDLE = "On every node, for what else it does."


class GpuOut(Schema):
    index: int
    uuid: str
    model: str
    memory_bytes: int
    driver: str


class NodeOut(Schema):
    name: str
    healthy: bool
    message: str
    engine_version: str
    cpus: float
    memory_bytes: int
    gpus: list[GpuOut]


class TargetOut(Schema):
    name: str
    kind: TargetKind
    owner: str = Field(description="The team that looks after it.")
    is_paused: bool
    is_draining: bool
    allow_shared: bool
    max_processes: int
    created_at: datetime
    problem: str = Field(description="Why nothing can run on it now; empty when it can.")
    unreachable_since: datetime | None
    pool: str = Field(description="Targets with the same pool share machines, which count once.")
    shares_machines_with: list[str]
    address: str
    tls_ca: str
    tls_cert: str
    has_tls_key: bool
    registry: str
    registry_user: str
    has_registry_password: bool
    base_image: str
    gpu_base_image: str
    web_url: str
    shared_folder: str
    allowed_nodes: list[str]
    max_cpus: float | None
    max_memory_bytes: int | None
    max_gpus: int | None
    max_gpus_per_run: int | None
    idle_cpus: float
    idle_memory_bytes: int
    default_priority: int
    max_priority: int
    images_kept_days: int
    images_max_bytes: int | None
    lost_after_seconds: int
    still_after_seconds: int
    ends_still_runs: bool
    nodes: list[NodeOut]


class TargetChanges(Schema):
    model_config = ConfigDict(extra="forbid")

    is_paused: bool = False
    is_draining: bool = False
    allow_shared: bool = False
    max_processes: int = Field(64, ge=1, le=10_000)
    address: str = Field(
        "", description="unix:///path, tcp://host:port or ssh://user@host of the engine."
    )
    without_tls: bool = Field(
        False, description="Go over the network without TLS. Certificates that are stored go."
    )
    tls_ca: str = Field("", description="PEM of who signed the engine's certificate.")
    tls_cert: str = Field("", description="PEM of our client certificate.")
    tls_key: str = Field("", description="PEM of its private key. Never shown again.")
    registry: str = Field("", description="Where images are pushed to, such as host:5000.")
    registry_user: str = ""
    registry_password: str = Field("", description="Never shown again.")
    base_image: str = ""
    gpu_base_image: str = ""
    web_url: str = Field("", description="How containers reach Trainyard, if not by its own URL.")
    shared_folder: str = Field("", description=SHARED_FOLDER)
    allowed_nodes: list[str] = Field([], description="Of a Swarm. Empty: all of them.")
    max_cpus: float | None = Field(None, description=NO_LIMIT)
    max_memory_bytes: int | None = Field(None, description=NO_LIMIT)
    max_gpus: int | None = Field(None, ge=0, description=NO_LIMIT)
    max_gpus_per_run: int | None = Field(None, ge=0, description="Null: no limit.")
    idle_cpus: float = Field(0.0, description=LEFT_IDLE)
    idle_memory_bytes: int = Field(0, description=LEFT_IDLE)
    default_priority: int = 0
    max_priority: int = 100
    images_kept_days: int = Field(30, ge=0)
    images_max_bytes: int | None = Field(None, ge=0, description="Null: no limit.")
    lost_after_seconds: int = Field(600, description="When the target does not answer.")
    still_after_seconds: int = Field(1800, description="When a run makes no progress.")
    ends_still_runs: bool = False


class TargetIn(TargetChanges):
    name: str
    kind: TargetKind = TargetKind.LOCAL


class StepOut(Schema):
    name: str
    outcome: Outcome
    said: str
    remedy: str = Field(description="What would mend a step that failed.")


class TrialOut(Schema):
    is_over: bool = Field(description="Ask again until it is, unless is_lost.")
    is_lost: bool = Field(description="The worker that made it is gone: ask for another.")
    works: bool
    steps: list[StepOut]


class GrantIn(Schema):
    model_config = ConfigDict(extra="forbid")

    max_runs: int | None = Field(None, ge=0, description="At one time. Null: no limit.")
    max_gpus: int | None = Field(None, ge=0, description="At one time. Null: no limit.")
    gpu_hours_a_month: float | None = Field(None, ge=0, description="Null: no limit.")
    min_role: Role = Field(Role.MEMBER, description="Whose role in the team is enough.")


class GrantOut(GrantIn):
    team: str
    is_owner: bool


SHOWN_AS_IT_IS = [
    name
    for name in TargetOut.model_fields
    if name != "nodes" and name in {field.name for field in ComputeTarget._meta.get_fields()}
]
HOW_IT_IS_REACHED = ("address", "tls_ca", "tls_cert", "registry", "registry_user", "web_url")


@router.get("teams/{slug}/targets", response=list[TargetOut], summary="Compute targets to use")
def list_targets(request: ApiRequest, slug: str) -> list[dict[str, Any]]:
    """List the team's own targets and those that it was granted."""
    team = team_for(request.auth, slug)
    return [_shown(state, team) for state in target_states(targets_for(team))]


@router.post(
    "teams/{slug}/targets",
    response={201: TargetOut},
    auth=ADMIN_CALLERS,
    summary="Give a team a compute target",
)
def create_target(request: ApiRequest, slug: str, payload: TargetIn) -> Any:
    team = team_for(request.auth, slug, Role.ADMIN)
    given = _given(payload)
    target = add_target(
        team=team,
        by=request.auth,
        name=given.pop("name"),
        kind=given.pop("kind", TargetKind.LOCAL),
        **given,
    )
    pool_problem(target)
    return Status(201, _shown(target_state(target), team))


@router.get("teams/{slug}/targets/{name}", response=TargetOut, summary="A compute target")
def get_target(request: ApiRequest, slug: str, name: str) -> dict[str, Any]:
    team = team_for(request.auth, slug)
    return _shown(target_state(target_for(team, name)), team)


@router.patch(
    "teams/{slug}/targets/{name}",
    response=TargetOut,
    auth=ADMIN_CALLERS,
    summary="Change, pause or drain a compute target",
)
def change_target(
    request: ApiRequest, slug: str, name: str, payload: TargetChanges
) -> dict[str, Any]:
    target = _own(request, slug, name)
    update_target(target=target, by=request.auth, **_given(payload))
    pool_problem(target)
    return _shown(target_state(target), target.team)


@router.delete(
    "teams/{slug}/targets/{name}",
    response={204: None},
    auth=ADMIN_CALLERS,
    summary="Delete a compute target",
)
def remove_target(request: ApiRequest, slug: str, name: str) -> HttpResponse:
    delete_target(target=_own(request, slug, name), by=request.auth)
    return HttpResponse(status=204)


@router.post(
    "teams/{slug}/targets/{name}/test",
    response={200: TrialOut, 202: TrialOut},
    auth=ADMIN_CALLERS,
    summary="Try a target step by step",
)
def test_target(request: ApiRequest, slug: str, name: str) -> Any:
    """Try everything that a run needs of a target. Answers 202 when that takes over a second."""
    target = _own(request, slug, name)
    asked = request_trial(target, by=request.auth)
    trial = trial_within(target, A_SECOND) or asked
    return Status(200 if trial.is_over else 202, trial)


@router.get(
    "teams/{slug}/targets/{name}/test",
    response=TrialOut,
    summary="The latest trial of a target",
)
def get_trial(request: ApiRequest, slug: str, name: str) -> Trial:
    trial = last_trial(own_target(team_for(request.auth, slug), name))
    if trial is None:
        raise NotFound(f"{name} was not tried today: POST to this address tries it.")
    return trial


@router.get(
    "teams/{slug}/targets/{name}/grants",
    response=list[GrantOut],
    auth=ADMIN_CALLERS,
    summary="Which teams may use a target",
)
def list_grants(request: ApiRequest, slug: str, name: str) -> list[dict[str, Any]]:
    grants = _own(request, slug, name).grants.select_related("team", "target__team")
    return [_shown_grant(grant) for grant in grants.order_by("team__slug")]


@router.put(
    "teams/{slug}/targets/{name}/grants/{to}",
    response=GrantOut,
    auth=ADMIN_CALLERS,
    summary="Let a team use a target, within limits",
)
def put_grant(
    request: ApiRequest, slug: str, name: str, to: str, payload: GrantIn
) -> dict[str, Any]:
    """Replace the whole grant. Given to the owning team, it is that team's limits."""
    target = _own(request, slug, name)
    team = Team.objects.filter(slug=to).first()
    if team is None:
        raise NotFound(f"There is no team {to!r}.")
    return _shown_grant(grant_target(target=target, by=request.auth, team=team, **payload.dict()))


@router.delete(
    "teams/{slug}/targets/{name}/grants/{to}",
    response={204: None},
    auth=ADMIN_CALLERS,
    summary="Take a team's use of a target away",
)
def delete_grant(request: ApiRequest, slug: str, name: str, to: str) -> HttpResponse:
    grant = TargetGrant.objects.filter(target=_own(request, slug, name), team__slug=to).first()
    if grant is None:
        raise NotFound(f"{to} was not given {name}.")
    revoke_grant(grant=grant, by=request.auth)
    return HttpResponse(status=204)


def _own(request: ApiRequest, slug: str, name: str) -> ComputeTarget:
    return own_target(team_for(request.auth, slug, Role.ADMIN), name)


def _given(payload: TargetChanges) -> dict[str, Any]:
    """Give the fields that the caller named, under the names of the model."""
    given = payload.dict(exclude_unset=True)
    if "allowed_nodes" in given:
        given["nodes"] = given.pop("allowed_nodes")
    return given


def _shown(state: TargetState, team: Team) -> dict[str, Any]:
    """Show a target; how it is reached is told to the team that owns it alone."""
    target = state.target
    shown = {name: getattr(target, name) for name in SHOWN_AS_IT_IS}
    if target.team != team:
        shown.update(dict.fromkeys(HOW_IT_IS_REACHED, ""))
    sharers = sharers_of(target).filter(pk__in=targets_for(team).values("pk"))
    return {
        **shown,
        "owner": target.team.slug,
        "problem": state.trouble or state.use_problem,
        "shares_machines_with": sorted(other.name for other in sharers),
        "has_tls_key": bool(target.sealed_tls_key),
        "has_registry_password": bool(target.sealed_registry_password),
        "allowed_nodes": target.nodes,
        "nodes": state.nodes,
    }


def _shown_grant(grant: TargetGrant) -> dict[str, Any]:
    return {
        "team": grant.team.slug,
        "is_owner": grant.team_id == grant.target.team_id,
        "max_runs": grant.max_runs,
        "max_gpus": grant.max_gpus,
        "gpu_hours_a_month": grant.gpu_hours_a_month,
        "min_role": grant.min_role,
    }
