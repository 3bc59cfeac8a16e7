"""The REST API of a service's door: its opening, its keys' limits, the requests it keeps."""

import json
from datetime import datetime
from typing import Any

from ninja import Router, Schema, Status

from deploy import door, selectors
from deploy.models import KeySlot, LoggedRequest, Opening, Service, ServiceKey
from workspace.errors import FieldError, Invalid, NotFound
from workspace.models import Role
from workspace.requests import ApiRequest
from workspace.selectors import team_for

router = Router(tags=["services"])


def _body_of(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class KeyLimit(Schema):
    slot: str
    prefix: str
    calls_per_minute: int | None
    use_count: int
    last_used_at: datetime | None
    created_at: datetime


class Door(Schema):
    opening: str
    request_log: dict[str, Any]
    keys: list[KeyLimit]

    @staticmethod
    def resolve_keys(service: Service) -> list[ServiceKey]:
        return list(service.keys.order_by("slot"))


class RequestOut(Schema):
    at: datetime
    revision: int
    caller: str
    status: int
    seconds: float
    request: str
    answer: str

    @staticmethod
    def resolve_revision(logged: LoggedRequest) -> int:
        return logged.revision.number


class RequestPage(Schema):
    requests: list[RequestOut]
    next_cursor: str


@router.get(
    "teams/{slug}/services/{name}/door",
    response=Door,
    summary="Who may score a service, and how its keys are used",
)
def show_door(request: ApiRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.auth, slug), name)


@router.patch(
    "teams/{slug}/services/{name}/door",
    response=Door,
    summary="Change who may score a service, and which requests it keeps",
    openapi_extra=_body_of(
        {
            "opening": {"type": "string", "enum": list(Opening.values)},
            "request_log": {
                "type": ["object", "null"],
                "properties": {
                    "sample": {"type": "number", "minimum": 0, "maximum": 1},
                    "redact": {"type": "array", "items": {"type": "string"}},
                },
            },
        }
    ),
)
def change_door(request: ApiRequest, slug: str, name: str) -> Service:
    """Changes what is said. A `request_log` of null keeps no requests from now on."""
    service = _writable(request, slug, name)
    door.change_door(
        service=service, by=request.auth, change=door.read_door_change(_json_of(request))
    )
    return selectors.service_of(service.team, name)


@router.patch(
    "teams/{slug}/services/{name}/keys/{slot}",
    response=KeyLimit,
    summary="Limit how often a key may be used",
    openapi_extra=_body_of({"calls_per_minute": {"type": ["integer", "null"], "minimum": 1}}),
)
def limit_key(request: ApiRequest, slug: str, name: str, slot: str) -> ServiceKey:
    """Each web process counts for itself. Null lifts the limit."""
    service = _writable(request, slug, name)
    if slot not in KeySlot.values:
        raise NotFound(f"A service has the keys {' and '.join(KeySlot.values)}, not {slot!r}.")
    door.limit_key(
        service=service,
        by=request.auth,
        slot=KeySlot(slot),
        calls_per_minute=door.read_key_limit(_json_of(request)),
    )
    return service.keys.get(slot=slot)


@router.get(
    "teams/{slug}/services/{name}/requests",
    response=RequestPage,
    summary="The requests that a service kept",
)
def list_requests(request: ApiRequest, slug: str, name: str, cursor: str = "") -> dict[str, Any]:
    """Gives them from the newest on, for members. Keys and tokens are never kept."""
    service = _writable(request, slug, name)
    page, next_cursor = selectors.requests_after(service, cursor)
    return {"requests": page, "next_cursor": next_cursor}


@router.delete(
    "teams/{slug}/services/{name}/requests",
    response={204: None},
    summary="Delete the requests that a service kept",
)
def clear_requests(request: ApiRequest, slug: str, name: str) -> Status[None]:
    door.clear_request_log(service=_writable(request, slug, name), by=request.auth)
    return Status(204, None)


def _writable(request: ApiRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.auth, slug, Role.MEMBER), name)


def _json_of(request: ApiRequest) -> Any:
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise Invalid.of(FieldError("body", f"This is not JSON: {error}")) from None
