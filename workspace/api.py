"""The workspace over REST: teams and compute targets."""

from datetime import datetime
from typing import Any

from django.http import HttpResponse
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field

from workspace.api_auth import ADMIN_CALLERS
from workspace.models import ComputeTarget, Role, TargetKind
from workspace.requests import ApiRequest
from workspace.selectors import TargetState, memberships_of, target_for, target_state, team_for
from workspace.services import add_target, delete_target, update_target

router = Router(tags=["workspace"])


class TeamOut(Schema):
    slug: str
    name: str
    role: Role


class GpuOut(Schema):
    index: int
    model: str
    memory_bytes: int


class NodeOut(Schema):
    name: str
    healthy: bool
    message: str
    cpus: float
    memory_bytes: int
    gpus: list[GpuOut]


class TargetOut(Schema):
    name: str
    kind: TargetKind
    is_paused: bool
    allow_shared: bool
    max_processes: int
    created_at: datetime
    problem: str = Field(description="Why nothing can run on it now; empty when it can.")
    nodes: list[NodeOut]


class TargetIn(Schema):
    model_config = ConfigDict(extra="forbid")

    name: str
    kind: TargetKind = TargetKind.LOCAL
    is_paused: bool = False
    allow_shared: bool = False
    max_processes: int = Field(64, ge=1, le=10_000)


class TargetChanges(Schema):
    model_config = ConfigDict(extra="forbid")

    is_paused: bool | None = None
    allow_shared: bool | None = None
    max_processes: int | None = Field(None, ge=1, le=10_000)


@router.get("teams", response=list[TeamOut], summary="The caller's teams")
def list_teams(request: ApiRequest) -> list[dict[str, Any]]:
    return [
        {"slug": entry.team.slug, "name": entry.team.name, "role": entry.role}
        for entry in memberships_of(request.auth)
    ]


@router.get("teams/{slug}/targets", response=list[TargetOut], summary="A team's compute targets")
def list_targets(request: ApiRequest, slug: str) -> list[dict[str, Any]]:
    team = team_for(request.auth, slug)
    return [_shown(target_state(target)) for target in team.targets.order_by("name")]


@router.post(
    "teams/{slug}/targets",
    response={201: TargetOut},
    auth=ADMIN_CALLERS,
    summary="Give a team a compute target",
)
def create_target(request: ApiRequest, slug: str, payload: TargetIn) -> Any:
    team = team_for(request.auth, slug, Role.ADMIN)
    target = add_target(team=team, by=request.auth, **payload.dict())
    return Status(201, _shown(target_state(target)))


@router.patch(
    "teams/{slug}/targets/{name}",
    response=TargetOut,
    auth=ADMIN_CALLERS,
    summary="Pause, resume or limit a compute target",
)
def change_target(
    request: ApiRequest, slug: str, name: str, payload: TargetChanges
) -> dict[str, Any]:
    target = _target(request, slug, name)
    update_target(target=target, by=request.auth, **payload.dict(exclude_none=True))
    return _shown(target_state(target))


@router.delete(
    "teams/{slug}/targets/{name}",
    response={204: None},
    auth=ADMIN_CALLERS,
    summary="Delete a compute target",
)
def remove_target(request: ApiRequest, slug: str, name: str) -> HttpResponse:
    delete_target(target=_target(request, slug, name), by=request.auth)
    return HttpResponse(status=204)


def _target(request: ApiRequest, slug: str, name: str) -> ComputeTarget:
    return target_for(team_for(request.auth, slug, Role.ADMIN), name)


def _shown(state: TargetState) -> dict[str, Any]:
    target = state.target
    return {
        "name": target.name,
        "kind": target.kind,
        "is_paused": target.is_paused,
        "allow_shared": target.allow_shared,
        "max_processes": target.max_processes,
        "created_at": target.created_at,
        "problem": state.trouble or state.use_problem,
        "nodes": [
            {
                "name": node.name,
                "healthy": node.healthy,
                "message": node.message,
                "cpus": node.cpus,
                "memory_bytes": node.memory_bytes,
                "gpus": [
                    {"index": gpu.index, "model": gpu.model, "memory_bytes": gpu.memory_bytes}
                    for gpu in node.gpus
                ],
            }
            for node in state.nodes
        ],
    }
