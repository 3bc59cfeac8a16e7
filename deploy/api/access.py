"""The REST API of a service's access policy, the limits of its keys, and its request log."""

from datetime import datetime
from typing import Annotated, Any

from ninja import Router, Schema, Status

from deploy import access_policy, selectors
from deploy.access_policy import AccessChange, KeyLimit
from deploy.models import KeySlot, LoggedRequest, Service, ServiceKey
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.errors import NotFound
from workspace.platform.json_body import JsonBody
from workspace.platform.requests import ApiRequest

router = Router(tags=["services"])


class KeyUsageOut(Schema):
    slot: str
    prefix: str
    calls_per_minute: int | None
    use_count: int
    last_used_at: datetime | None
    created_at: datetime


class ServiceAccessOut(Schema):
    access_policy: str
    request_log: dict[str, Any]
    keys: list[KeyUsageOut]

    @staticmethod
    def resolve_keys(service: Service) -> list[ServiceKey]:
        return list(service.keys.order_by("slot"))


class RequestOut(Schema):
    at: datetime
    revision: int
    principal: str
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
    "teams/{slug}/services/{name}/access",
    response=ServiceAccessOut,
    summary="Get the access policy of a service, its request log and how its keys are used",
)
def show_access(request: ApiRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.auth, slug), name)


@router.patch(
    "teams/{slug}/services/{name}/access",
    response=ServiceAccessOut,
    summary="Change who may call a service, and which requests it logs",
)
def change_access(
    request: ApiRequest, slug: str, name: str, payload: Annotated[AccessChange, JsonBody()]
) -> Service:
    """Change the fields that are given and keep the others."""
    service = _writable(request, slug, name)
    access_policy.change_access(service=service, by=request.auth, change=payload)
    return selectors.service_of(service.team, name)


@router.patch(
    "teams/{slug}/services/{name}/keys/{slot}",
    response=KeyUsageOut,
    summary="Limit how often a key may be used",
)
def limit_key(
    request: ApiRequest,
    slug: str,
    name: str,
    slot: str,
    payload: Annotated[KeyLimit, JsonBody()],
) -> ServiceKey:
    service = _writable(request, slug, name)
    if slot not in KeySlot.values:
        raise NotFound(f"A service has the keys {' and '.join(KeySlot.values)}, not {slot!r}.")
    access_policy.limit_key(
        service=service,
        by=request.auth,
        slot=KeySlot(slot),
        calls_per_minute=payload.calls_per_minute,
    )
    return service.keys.get(slot=slot)


@router.get(
    "teams/{slug}/services/{name}/requests",
    response=RequestPage,
    summary="List logged requests",
)
def list_requests(request: ApiRequest, slug: str, name: str, cursor: str = "") -> dict[str, Any]:
    """Newest first, for members. Keys and tokens are never logged."""
    service = _writable(request, slug, name)
    page, next_cursor = selectors.requests_after(service, cursor)
    return {"requests": page, "next_cursor": next_cursor}


@router.delete(
    "teams/{slug}/services/{name}/requests",
    response={204: None},
    summary="Delete logged requests",
)
def clear_requests(request: ApiRequest, slug: str, name: str) -> Status[None]:
    access_policy.delete_logged_requests(service=_writable(request, slug, name), by=request.auth)
    return Status(204, None)


def _writable(request: ApiRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.auth, slug, Role.MEMBER), name)
