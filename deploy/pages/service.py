"""The pages of services: the list, and a service with its tabs."""

import time
from typing import Any
from urllib.parse import urlencode, urlsplit

from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from deploy import selectors
from deploy.contract.examples import example_of
from deploy.contract.predictions import parse_prediction
from deploy.contract.programs import ServiceEndpoint, programs_for
from deploy.contract.signatures import signatures_of
from deploy.contract.try_form import try_form
from deploy.events import ServiceName
from deploy.gateway.application import gateway
from deploy.gateway.errors import GatewayError
from deploy.logs import logs_of_service
from deploy.models import AccessPolicy, Service
from deploy.pages.lookup import visible_service
from deploy.pages.new_keys import delete_new_keys_cookie, read_new_keys
from runs.logs.sources import BUILD
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.requests import SignedInRequest

TABS = {
    "service": "cloud",
    "traffic": "chart",
    "requests": "list",
    "drift": "gauge",
    "history": "timeline",
    "logs": "terminal",
    "settings": "settings",
}
TAB_NAMES = {"service": "Overview", "history": "Revisions"}
MEMBER_TABS = ("requests", "settings")
# A key names its service, a token or nothing does not.
NAMED_IN_CALLS = (AccessPolicy.TOKENS, AccessPolicy.PUBLIC)
ON_A_PAGE = 50


@require_safe
def service_list(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    after = request.GET.get("after", "")[:64].replace("\0", "")
    services = selectors.services_of(team).filter(name__gt=after)
    found = selectors.with_current_revisions(services, ON_A_PAGE + 1)
    page = found[:ON_A_PAGE]
    has_more = len(found) > len(page)
    return render(
        request,
        "deploy/service_list.html",
        {
            "rows": [(service, selectors.current_revision(service)) for service in page],
            "following": f"?{urlencode({'after': page[-1].name})}" if has_more else "",
            "is_first": not after,
        },
    )


@require_safe
def service(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    found = visible_service(request, slug, name)
    revision = selectors.current_revision(found)
    signatures = signatures_of(revision.model_version)
    place = ServiceEndpoint(
        scoring_uri=selectors.scoring_uri(found),
        model=revision.model_version.model.name,
        grpc=grpc_address(),
        grpc_name=f"{slug}/{found.name}" if found.access_policy in NAMED_IN_CALLS else "",
        needs_key=found.access_policy != AccessPolicy.PUBLIC,
        allowed_origins=tuple(found.allowed_origins),
    )
    new_keys = read_new_keys(request, found)
    response = render_tab(
        request,
        found,
        "service",
        {
            "scoring_uri": place.scoring_uri,
            "serving_uri": selectors.serving_uri(found),
            "grpc_address": place.grpc,
            "keys": found.keys.order_by("slot"),
            "new_keys": new_keys,
            "example": example_of(signatures[0]),
            "try_form": try_form(signatures),
            "programs": programs_for(place, signatures[0]),
            "openapi": f"/api/v1/teams/{slug}/services/{found.name}/openapi.json",
        },
    )
    if new_keys:
        delete_new_keys_cookie(response, found)
        response["Cache-Control"] = "no-store"
    return response


@require_safe
def service_head(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Return the part above the tabs anew; the page asks for it every other second."""
    found = visible_service(request, slug, name)
    return render(request, "deploy/_service_head.html", head_context(found))


@require_safe
def service_logs(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    found = visible_service(request, slug, name)
    sources = list(logs_of_service(found)) or [BUILD]
    return render_tab(
        request,
        found,
        "logs",
        {
            "sources": sources,
            "selected": sources[-1],
            "log_base": f"/api/v1/teams/{slug}/services/{name}/logs/",
            "stream": f"/ws/teams/{slug}/services/{name}/",
        },
    )


@require_POST
def try_it(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Score what the page's form holds, through the same gateway as everybody's requests."""
    found = selectors.service_of(team_for(request.user, slug, Role.MEMBER), name)
    body = request.POST.get("body", "").encode()
    began = time.monotonic()
    try:
        status, answer = async_to_sync(_score)(
            ServiceName(slug, found.name), body, request.user.get_username()
        )
    except GatewayError as error:
        status, answer = error.status, error.body
    return render(
        request,
        "deploy/_try_answer.html",
        {
            "status": status,
            "is_good": status < 400,
            "milliseconds": (time.monotonic() - began) * 1000,
            "answer": parse_prediction(answer),
        },
    )


async def _score(name: ServiceName, body: bytes, caller: str) -> tuple[int, bytes]:
    return await gateway().score(name, body, caller)


def grpc_address() -> str:
    """Return where gRPC clients reach services, "" where none do."""
    port: int = settings.TRAINYARD_GRPC_PORT
    return f"{urlsplit(settings.TRAINYARD_URL).hostname}:{port}" if port else ""


def render_tab(
    request: SignedInRequest,
    service: Service,
    name: str,
    context: dict[str, Any],
    status: int = 200,
) -> HttpResponse:
    """Show one tab of a service's page."""
    return render(
        request,
        f"deploy/service_{name}.html",
        {
            **head_context(service),
            "tab": name,
            "tabs": [
                (key, TAB_NAMES.get(key, key.capitalize()), TABS[key], key in MEMBER_TABS)
                for key in TABS
            ],
            "score_max_mb": settings.TRAINYARD_SCORE_MAX_BYTES / 1000**2,
            **context,
        },
        status=status,
    )


def head_context(service: Service) -> dict[str, Any]:
    reason, _, details = service.state_reason.partition("\n")
    return {
        "service": service,
        "revision": selectors.current_revision(service),
        "replicas": selectors.living_replicas(service),
        "reason": reason,
        "details": details,
    }
