"""The REST API of services. Scoring itself is answered by the gateway, not here."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse, JsonResponse
from ninja import Router, Schema, Status

from deploy import selectors, services, steering
from deploy.configuration import Wish, read_change, read_deployment, read_revision
from deploy.models import KeySlot, Replica, Revision, Service, ServiceKey
from models.models import ModelVersion
from models.selectors import version_named
from workspace.errors import FieldError, Invalid, NotFound, TooLarge
from workspace.models import Role, Team
from workspace.requests import ApiRequest
from workspace.selectors import target_for, team_for

router = Router(tags=["services"])
Found = TypeVar("Found")

DEFAULT_TARGET = "local"
SERVICES_ON_A_PAGE = REVISIONS_SHOWN = 100
RESOURCES = {
    "type": "object",
    "properties": {
        "cpu": {"type": "number"},
        "memory_gb": {"type": "number"},
        "gpu": {"type": "integer"},
    },
}
DEPLOYABLE = {
    "model": {
        "type": "string",
        "description": "NAME:VERSION, NAME:STAGE, NAME@ALIAS, or NAME for its newest version.",
    },
    "resources": RESOURCES,
    "replicas": {"type": "integer", "minimum": 1},
    "autoscale": {
        "type": "object",
        "nullable": True,
        "description": "Replicas by requests in flight; null leaves their number to people.",
        "properties": {
            "min_replicas": {"type": "integer", "default": 1},
            "max_replicas": {"type": "integer", "default": 10},
            "target_utilization": {"type": "integer", "default": 70},
            "requests_per_replica": {"type": "integer", "default": 1},
            "cool_down_seconds": {"type": "integer", "default": 300},
            "idle_seconds": {
                "type": "integer",
                "nullable": True,
                "description": "After so long without a request there are no replicas.",
            },
        },
    },
    "rollback": {
        "type": "object",
        "nullable": True,
        "description": "When the newest revision is taken back, by the last minute's requests.",
        "properties": {
            "error_rate": {"type": "number", "minimum": 0, "maximum": 1},
            "p95_ms": {"type": "number"},
            "min_requests": {"type": "integer", "default": 20},
        },
    },
    "sticky_by": {
        "type": "string",
        "description": 'What names a caller that stays with a revision: "key", or a header.',
    },
    "golden_request": {
        "type": "object",
        "nullable": True,
        "description": "What every replica has to answer well before it is sent requests.",
    },
}
CHANGEABLE = DEPLOYABLE | {
    "weight": {
        "type": "integer",
        "minimum": 1,
        "maximum": 99,
        "description": "With model or resources: the percentage that the new revision takes.",
    },
    "traffic": {
        "type": "object",
        "nullable": True,
        "additionalProperties": {"type": "integer"},
        "description": "Percentages by revision, of 100 in all; null gives all to the newest.",
    },
    "shadow": {
        "description": "The revision that gets copies of requests, true for a new one, or null.",
    },
}


def _json_body(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


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
    resources: dict[str, Any]
    replicas: int
    ready: int
    weight: int | None
    is_shadow: bool
    proven_at: datetime | None
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
    golden_request: dict[str, Any] | None
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


class Deployed(ServiceDetail):
    """A new service. `secrets` holds its keys by slot; they are never shown again."""

    secrets: dict[str, str]


class NewKey(Schema):
    slot: str
    key: str


@router.post(
    "teams/{slug}/services",
    response={201: Deployed},
    summary="Deploy a model version as a service",
    openapi_extra=_json_body(
        DEPLOYABLE | {"name": {"type": "string"}, "target": {"type": "string"}}, "name", "model"
    ),
)
def deploy(request: ApiRequest, slug: str) -> HttpResponse:
    """Answers at once; the service is Transitioning until its model answers."""
    user = request.auth
    team = team_for(user, slug, Role.MEMBER)
    wish = read_deployment(_body(request))
    made = services.deploy(
        team=team,
        by=user,
        name=wish.name,
        version=_required(_version(team, wish)),
        target=_named("target", lambda: target_for(team, wish.target or DEFAULT_TARGET)),
        resources=wish.resources,
        replicas=wish.replicas or 1,
        terms=wish.terms,
    )
    shown = ServiceDetail.from_orm(selectors.service_of(team, wish.name)).dict()
    secrets = {slot.value: key for slot, key in made.keys.items()}
    return JsonResponse(shown | {"secrets": secrets}, status=201)


@router.get("teams/{slug}/services", response=list[ServiceOut], summary="A team's services")
def list_services(request: ApiRequest, slug: str, after: str = "") -> Any:
    """Gives the first hundred by name; `after` names the last one of the page before."""
    services = selectors.services_of(team_for(request.auth, slug))
    return services.filter(name__gt=after.replace("\0", ""))[:SERVICES_ON_A_PAGE]


@router.get("teams/{slug}/services/{name}", response=ServiceDetail, summary="A service")
def show_service(request: ApiRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.auth, slug), name)


@router.patch(
    "teams/{slug}/services/{name}",
    response=ServiceDetail,
    summary="Change what a service runs, how much of it, and who gets which revision",
    openapi_extra=_json_body(CHANGEABLE),
)
def change_service(request: ApiRequest, slug: str, name: str) -> Service:
    service = _writable(request, slug, name)
    wish = read_change(_body(request))
    steering.change(
        service=service, by=request.auth, wish=wish, version=_version(service.team, wish)
    )
    return selectors.service_of(service.team, name)


@router.post(
    "teams/{slug}/services/{name}/rollback",
    response={202: ServiceDetail},
    summary="Serve again what an earlier revision did",
    openapi_extra=_json_body({"revision": {"type": "integer", "minimum": 1}}),
)
def roll_back(request: ApiRequest, slug: str, name: str) -> Status[Service]:
    """Without a revision: the newest earlier one that served, with another model or resources."""
    service = _writable(request, slug, name)
    number = read_revision(_body(request, default={}))
    steering.roll_back(service=service, by=request.auth, number=number)
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
    openapi_extra=_json_body({"slot": {"type": "string", "enum": list(KeySlot.values)}}),
)
def regenerate_key(request: ApiRequest, slug: str, name: str) -> dict[str, str]:
    """Gives the new key, which is never shown again. The old one is refused from now on."""
    service = _writable(request, slug, name)
    data = _body(request, default={})
    asked = data.get("slot", KeySlot.PRIMARY) if isinstance(data, dict) else None
    if not isinstance(asked, str) or asked.lower() not in KeySlot.values:
        raise Invalid.of(FieldError("slot", f"Use one of {', '.join(KeySlot.values)}."))
    slot = KeySlot(asked.lower())
    key = services.regenerate_key(service=service, by=request.auth, slot=slot)
    return {"slot": slot.value, "key": key}


def _writable(request: ApiRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.auth, slug, Role.MEMBER), name)


def _body(request: ApiRequest, default: Any = None) -> Any:
    try:
        if not request.body and default is not None:
            return default
        return json.loads(request.body)
    except RequestDataTooBig:
        raise TooLarge("This request is too large: it is a few lines of JSON.") from None
    except (ValueError, RecursionError) as error:
        raise Invalid.of(FieldError("body", f"This is not JSON: {error}")) from None


def _version(team: Team, wish: Wish) -> ModelVersion | None:
    if wish.model is None:
        return None
    reference = wish.model
    return _named("model", lambda: version_named(team, reference))


def _required(version: ModelVersion | None) -> ModelVersion:
    if version is None:
        raise Invalid.of(FieldError("model", "model is required."))
    return version


def _named(field: str, find: Callable[[], Found]) -> Found:
    """Make what is not found an error of the field that names it."""
    try:
        return find()
    except NotFound as error:
        raise Invalid.of(FieldError(field, error.message)) from None
