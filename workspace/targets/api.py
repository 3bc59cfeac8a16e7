"""The REST API of compute targets: their settings, nodes, tests and grants."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from django.http import HttpResponse
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field

from workspace.accounts.api_auth import ADMIN_API_AUTH
from workspace.accounts.selectors import team_for
from workspace.compute.connection_test import StepOutcome
from workspace.models import ComputeTarget, GrantLimits, Role, TargetGrant, TargetOffer, Team
from workspace.platform.errors import NotFound
from workspace.platform.json_body import JsonBody
from workspace.platform.requests import ApiRequest
from workspace.targets.connection_test import (
    ConnectionTest,
    latest_connection_test,
    request_connection_test,
    wait_for_connection_test,
)
from workspace.targets.pools import pool_problem
from workspace.targets.selectors import (
    own_target,
    share_nodes,
    target_for,
    targets_for,
)
from workspace.targets.services import (
    add_target,
    delete_target,
    update_target,
)
from workspace.targets.settings import (
    GrantSettings,
    KindName,
    NewTarget,
    ReadableSettings,
    TargetSettings,
    column_of,
)
from workspace.targets.sharing import (
    accept_offer,
    decline_share,
    offer_for,
    offer_target,
    offers_for,
    withdraw_share,
)
from workspace.targets.states import TargetStatus, target_status, target_statuses

router = Router(tags=["compute targets"])

A_SECOND = 1.0


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


class TargetOut(ReadableSettings):
    model_config = ConfigDict(strict=False)

    name: str
    kind: KindName
    owner: str = Field(description="The team whose admins manage it.")
    created_at: datetime
    problem: str = Field(description="Why nothing can run on it now; empty when it can.")
    unreachable_since: datetime | None
    pool: str = Field(description="Targets with the same pool share machines, which count once.")
    shares_machines_with: list[str]
    has_tls_key: bool
    has_registry_password: bool
    nodes: list[NodeOut]


class ConnectionTestStepOut(Schema):
    name: str
    outcome: StepOutcome
    said: str
    remedy: str = Field(description="How to fix a step that failed.")


class ConnectionTestOut(Schema):
    is_over: bool = Field(description="Poll until true or is_lost is true.")
    is_lost: bool = Field(description="The worker that ran it stopped: start another test.")
    works: bool
    steps: list[ConnectionTestStepOut]


class GrantOut(GrantSettings):
    team: str
    is_owner: bool
    is_accepted: bool = Field(description="False until an admin of the team accepts the offer.")


class OfferOut(GrantSettings):
    owner: str = Field(description="The team that offers its target.")
    name: str
    kind: KindName


SHOWN_COLUMNS = {name: column_of(name) for name in ReadableSettings.model_fields} | {
    name: name for name in ("name", "kind", "created_at", "unreachable_since", "pool")
}
FOR_OWNER_ONLY = ("address", "tls_ca", "tls_cert", "registry", "registry_user", "web_url")


@router.get("teams/{slug}/targets", response=list[TargetOut], summary="List compute targets")
def list_targets(request: ApiRequest, slug: str) -> list[dict[str, Any]]:
    """List the team's own targets and those that it was granted access to."""
    team = team_for(request.auth, slug)
    usable = list(targets_for(team))
    return [_shown(state, team, usable) for state in target_statuses(usable)]


@router.post(
    "teams/{slug}/targets",
    response={201: TargetOut},
    auth=ADMIN_API_AUTH,
    summary="Create a compute target",
)
def create_target(request: ApiRequest, slug: str, payload: Annotated[NewTarget, JsonBody()]) -> Any:
    team = team_for(request.auth, slug, Role.ADMIN)
    target = add_target(team=team, by=request.auth, new=payload)
    pool_problem(target)
    return Status(201, _shown(target_status(target), team, targets_for(team)))


@router.get("teams/{slug}/targets/{name}", response=TargetOut, summary="Get a compute target")
def get_target(request: ApiRequest, slug: str, name: str) -> dict[str, Any]:
    team = team_for(request.auth, slug)
    return _shown(target_status(target_for(team, name)), team, targets_for(team))


@router.patch(
    "teams/{slug}/targets/{name}",
    response=TargetOut,
    auth=ADMIN_API_AUTH,
    summary="Change, pause or drain a compute target",
)
def change_target(
    request: ApiRequest,
    slug: str,
    name: str,
    payload: Annotated[TargetSettings, JsonBody()],
    leave_behind: bool = False,
) -> dict[str, Any]:
    """Change the fields that are given and keep the others. An empty secret removes it.

    With `leave_behind` the address may change though processes may be left at the old one.
    """
    target = _own(request, slug, name)
    update_target(target=target, by=request.auth, settings=payload, leave_behind=leave_behind)
    pool_problem(target)
    return _shown(target_status(target), target.team, targets_for(target.team))


@router.delete(
    "teams/{slug}/targets/{name}",
    response={204: None},
    auth=ADMIN_API_AUTH,
    summary="Delete a compute target",
)
def remove_target(
    request: ApiRequest, slug: str, name: str, leave_behind: bool = False
) -> HttpResponse:
    """Delete a target; with `leave_behind` also one on which processes may be left."""
    target = _own(request, slug, name)
    delete_target(target=target, by=request.auth, leave_behind=leave_behind)
    return HttpResponse(status=204)


@router.post(
    "teams/{slug}/targets/{name}/test",
    response={200: ConnectionTestOut, 202: ConnectionTestOut},
    auth=ADMIN_API_AUTH,
    summary="Test the connection to a target",
)
def test_target(request: ApiRequest, slug: str, name: str) -> Any:
    """Check everything that a run needs of a target. Responds 202 if that takes over a second."""
    target = _own(request, slug, name)
    asked = request_connection_test(target, by=request.auth)
    connection_test = wait_for_connection_test(target, A_SECOND) or asked
    return Status(200 if connection_test.is_over else 202, connection_test)


@router.get(
    "teams/{slug}/targets/{name}/test",
    response=ConnectionTestOut,
    summary="Get the latest connection test",
)
def get_connection_test(request: ApiRequest, slug: str, name: str) -> ConnectionTest:
    connection_test = latest_connection_test(own_target(team_for(request.auth, slug), name))
    if connection_test is None:
        raise NotFound(f"{name} was not tested in 24 hours: POST to this address to test it.")
    return connection_test


@router.get(
    "teams/{slug}/targets/{name}/grants",
    response=list[GrantOut],
    auth=ADMIN_API_AUTH,
    summary="List the teams that may use a target",
)
def list_grants(request: ApiRequest, slug: str, name: str) -> list[dict[str, Any]]:
    target = _own(request, slug, name)
    shares: list[TargetGrant | TargetOffer] = [
        *target.grants.select_related("team", "target__team"),
        *target.offers.all(),
    ]
    return sorted(map(_shown_grant, shares), key=lambda share: str(share["team"]))


@router.put(
    "teams/{slug}/targets/{name}/grants/{to}",
    response=GrantOut,
    auth=ADMIN_API_AUTH,
    summary="Offer a team access to a target, within limits",
)
def put_grant(
    request: ApiRequest,
    slug: str,
    name: str,
    to: str,
    payload: Annotated[GrantSettings, JsonBody()],
) -> dict[str, Any]:
    """Replace the whole offer or grant. An offer counts once an admin of the team accepts it.

    Responses are the same whether there is such a team or not. A grant to the owning team sets that
    team's limits.
    """
    target = _own(request, slug, name)
    return _shown_grant(offer_target(target=target, by=request.auth, to=to, limits=payload))


@router.delete(
    "teams/{slug}/targets/{name}/grants/{to}",
    response={204: None},
    auth=ADMIN_API_AUTH,
    summary="Revoke a team's access",
)
def delete_grant(request: ApiRequest, slug: str, name: str, to: str) -> HttpResponse:
    withdraw_share(target=_own(request, slug, name), by=request.auth, to=to)
    return HttpResponse(status=204)


@router.get(
    "teams/{slug}/target-offers",
    response=list[OfferOut],
    auth=ADMIN_API_AUTH,
    summary="List the compute targets that other teams offer",
)
def list_offers(request: ApiRequest, slug: str) -> list[dict[str, Any]]:
    return [
        {
            "owner": offer.target.team.slug,
            "name": offer.target.name,
            "kind": offer.target.kind,
            **_limits(offer),
        }
        for offer in offers_for(team_for(request.auth, slug, Role.ADMIN))
    ]


@router.post(
    "teams/{slug}/target-offers/{owner}/{name}/accept",
    response=GrantOut,
    auth=ADMIN_API_AUTH,
    summary="Accept a compute target that another team offers",
)
def accept_target(request: ApiRequest, slug: str, owner: str, name: str) -> dict[str, Any]:
    team = team_for(request.auth, slug, Role.ADMIN)
    offer = offer_for(team, owner, name)
    return _shown_grant(accept_offer(offer=offer, by=request.auth, team=team))


@router.delete(
    "teams/{slug}/target-offers/{owner}/{name}",
    response={204: None},
    auth=ADMIN_API_AUTH,
    summary="Decline a compute target, or give one back",
)
def decline_target(request: ApiRequest, slug: str, owner: str, name: str) -> HttpResponse:
    team = team_for(request.auth, slug, Role.ADMIN)
    decline_share(team=team, by=request.auth, owner=owner, name=name)
    return HttpResponse(status=204)


def _own(request: ApiRequest, slug: str, name: str) -> ComputeTarget:
    return own_target(team_for(request.auth, slug, Role.ADMIN), name)


def _shown(state: TargetStatus, team: Team, usable: Iterable[ComputeTarget]) -> dict[str, Any]:
    """Return a target as the API shows it; only its owner sees how it is reached."""
    target = state.target
    shown = {name: getattr(target, column) for name, column in SHOWN_COLUMNS.items()}
    if target.team != team:
        shown.update(dict.fromkeys(FOR_OWNER_ONLY, ""))
    return {
        **shown,
        "owner": target.team.slug,
        "problem": state.error or state.use_problem,
        "shares_machines_with": sorted(one.name for one in usable if share_nodes(one, target)),
        "has_tls_key": bool(target.encrypted_tls_key),
        "has_registry_password": bool(target.encrypted_registry_password),
        "nodes": state.nodes,
    }


def _shown_grant(share: TargetGrant | TargetOffer) -> dict[str, Any]:
    """Return a grant, or an offer that may become one."""
    is_accepted = isinstance(share, TargetGrant)
    team = share.team.slug if isinstance(share, TargetGrant) else share.to
    return {
        "team": team,
        "is_owner": is_accepted and team == share.target.team.slug,
        "is_accepted": is_accepted,
        **_limits(share),
    }


def _limits(share: GrantLimits) -> dict[str, Any]:
    return {name: getattr(share, name) for name in GrantSettings.model_fields}
