"""The REST API of services. The gateway serves scoring requests, not this API."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

from django.http import HttpResponse, JsonResponse
from ninja import Router, Schema, Status

from deploy import selectors, services
from deploy.config import (
    DEFAULT_TARGET,
    KeyChoice,
    NewService,
    RevisionChoice,
    ServiceChange,
    ServiceResources,
)
from deploy.models import Replica, Revision, Service, ServiceKey
from deploy.rollout import traffic_policy
from models.models import ModelVersion
from models.selectors import version_named
from workspace.accounts.selectors import team_for
from workspace.models import Role, Team
from workspace.platform.errors import FieldError, Invalid, NotFound
from workspace.platform.json_body import JsonBody
from workspace.platform.requests import ApiRequest
from workspace.targets.selectors import target_for

router = Router(tags=["services"])
Found = TypeVar("Found")

SERVICES_ON_A_PAGE = REVISIONS_SHOWN = 100


class ReplicaOut(Schema):
    name: str
    revision: int
    state: str
    reason: str
    created_at: datetime
    ready_at: datetime | None

    @staticmethod
    def resolve_revision(replica: Replica) -> int:
        return replica.revision.number


class RevisionOut(Schema):
    number: int
    model: str
    framework_version: str
    resources: ServiceResources
    replicas: int
    ready: int
    weight: int | None
    is_shadow: bool
    verified_at: datetime | None
    notice: str
    failure: str
    created_at: datetime

    @staticmethod
    def resolve_model(revision: Revision) -> str:
        return str(revision.model_version)

    @staticmethod
    def resolve_framework_version(revision: Revision) -> str:
        return revision.model_version.framework_version

    @staticmethod
    def resolve_replicas(revision: Revision) -> int:
        return revision.replica_count

    @staticmethod
    def resolve_ready(revision: Revision) -> int:
        ready: int = revision.ready  # type: ignore[attr-defined]
        return ready


class KeyOut(Schema):
    slot: str
    prefix: str
    created_at: datetime


class ServiceOut(Schema):
    name: str
    state: str
    state_reason: str
    scoring_uri: str
    serving_uri: str
    model: str
    target: str
    created_by: str | None
    created_at: datetime
    url: str

    @staticmethod
    def resolve_scoring_uri(service: Service) -> str:
        return selectors.scoring_uri(service)

    @staticmethod
    def resolve_serving_uri(service: Service) -> str:
        return selectors.serving_uri(service)

    @staticmethod
    def resolve_model(service: Service) -> str:
        return str(selectors.current_revision(service).model_version)

    @staticmethod
    def resolve_target(service: Service) -> str:
        return service.target.name

    @staticmethod
    def resolve_created_by(service: Service) -> str | None:
        return service.created_by.get_username() if service.created_by else None

    @staticmethod
    def resolve_url(service: Service) -> str:
        return f"/t/{service.team.slug}/services/{service.name}/"


class ServiceDetail(ServiceOut):
    autoscale: dict[str, Any]
    rollback: dict[str, Any]
    sticky_by: str
    allowed_origins: list[str]
    smoke_test_request: dict[str, Any] | None
    revisions: list[RevisionOut]
    replicas: list[ReplicaOut]
    keys: list[KeyOut]

    @staticmethod
    def resolve_revisions(service: Service) -> list[Revision]:
        return list(selectors.counted(selectors.revisions_of(service))[:REVISIONS_SHOWN])

    @staticmethod
    def resolve_replicas(service: Service) -> list[Replica]:
        return list(selectors.living_replicas(service))

    @staticmethod
    def resolve_keys(service: Service) -> list[ServiceKey]:
        return list(service.keys.order_by("slot"))


class ServiceCreated(ServiceDetail):
    """A new service. `secrets` holds its keys by slot; they are never shown again."""

    secrets: dict[str, str]


class NewKey(Schema):
    slot: str
    key: str


@router.post(
    "teams/{slug}/services",
    response={201: ServiceCreated},
    summary="Deploy a model version as a service",
)
def deploy(
    request: ApiRequest, slug: str, payload: Annotated[NewService, JsonBody()]
) -> HttpResponse:
    """Responds at once; the service is Transitioning until its model responds."""
    user = request.auth
    team = team_for(user, slug, Role.MEMBER)
    target = payload.target or DEFAULT_TARGET
    made = services.deploy(
        team=team,
        by=user,
        name=payload.name,
        version=_version(team, payload.model),
        target=_named("target", lambda: target_for(team, target)),
        resources=payload.resources,
        replicas=payload.replicas,
        options=payload.stored(),
    )
    shown = ServiceDetail.from_orm(selectors.service_of(team, payload.name)).dict()
    secrets = {slot.value: key for slot, key in made.keys.items()}
    return JsonResponse(shown | {"secrets": secrets}, status=201)


@router.get("teams/{slug}/services", response=list[ServiceOut], summary="List services")
def list_services(request: ApiRequest, slug: str, after: str = "") -> Any:
    """Return the first hundred by name; `after` names the last one of the page before."""
    services = selectors.services_of(team_for(request.auth, slug))
    following = services.filter(name__gt=after.replace("\0", ""))
    return selectors.with_current_revisions(following, SERVICES_ON_A_PAGE)


@router.get("teams/{slug}/services/{name}", response=ServiceDetail, summary="Get a service")
def show_service(request: ApiRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.auth, slug), name)


@router.patch(
    "teams/{slug}/services/{name}",
    response=ServiceDetail,
    summary="Change a service: its model, resources, replicas, traffic split and options",
)
def change_service(
    request: ApiRequest, slug: str, name: str, payload: Annotated[ServiceChange, JsonBody()]
) -> Service:
    service = _writable(request, slug, name)
    version = None if payload.model is None else _version(service.team, payload.model)
    traffic_policy.apply_change(service=service, by=request.auth, change=payload, version=version)
    return selectors.service_of(service.team, name)


@router.post(
    "teams/{slug}/services/{name}/rollback",
    response={202: ServiceDetail},
    summary="Roll back to an earlier revision",
)
def roll_back(
    request: ApiRequest,
    slug: str,
    name: str,
    payload: Annotated[RevisionChoice, JsonBody()] = RevisionChoice(),  # noqa: B008
) -> Status[Service]:
    """Without a revision: the newest earlier one that served, with another model or resources."""
    service = _writable(request, slug, name)
    traffic_policy.roll_back(service=service, by=request.auth, number=payload.revision)
    return Status(202, selectors.service_of(service.team, name))


@router.delete("teams/{slug}/services/{name}", response={204: None}, summary="Delete a service")
def delete_service(request: ApiRequest, slug: str, name: str) -> Status[None]:
    services.delete(service=_writable(request, slug, name), by=request.auth)
    return Status(204, None)


@router.post(
    "teams/{slug}/services/{name}/stop", response={202: ServiceDetail}, summary="Stop a service"
)
def stop_service(request: ApiRequest, slug: str, name: str) -> Status[Service]:
    service = _writable(request, slug, name)
    services.stop(service=service, by=request.auth)
    return Status(202, selectors.service_of(service.team, name))


@router.post(
    "teams/{slug}/services/{name}/start",
    response={202: ServiceDetail},
    summary="Start a service that was stopped or failed",
)
def start_service(request: ApiRequest, slug: str, name: str) -> Status[Service]:
    service = _writable(request, slug, name)
    services.start(service=service, by=request.auth)
    return Status(202, selectors.service_of(service.team, name))


@router.post(
    "teams/{slug}/services/{name}/keys",
    response=NewKey,
    summary="Replace a key of a service",
)
def regenerate_key(
    request: ApiRequest,
    slug: str,
    name: str,
    payload: Annotated[KeyChoice, JsonBody()] = KeyChoice(),  # noqa: B008
) -> dict[str, str]:
    """Return the new key, which is never shown again. The old one is rejected from now on."""
    service = _writable(request, slug, name)
    key = services.regenerate_key(service=service, by=request.auth, slot=payload.slot)
    return {"slot": payload.slot.value, "key": key}


def _writable(request: ApiRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.auth, slug, Role.MEMBER), name)


def _version(team: Team, reference: str) -> ModelVersion:
    return _named("model", lambda: version_named(team, reference))


def _named(field: str, find: Callable[[], Found]) -> Found:
    """Report what is not found as an error of the field that names it."""
    try:
        return find()
    except NotFound as error:
        raise Invalid.of(FieldError(field, error.message)) from None
