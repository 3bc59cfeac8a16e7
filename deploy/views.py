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
from deploy.answers import read_answer
from deploy.errors import GatewayError
from deploy.examples import example_of
from deploy.gateway import gateway
from deploy.logs import logs_of_service
from deploy.models import Opening, Service
from deploy.new_keys import forget_new_keys, take_new_keys
from deploy.programs import Place, programs_for
from deploy.routes import Name
from deploy.tensors import signatures_of
from deploy.try_form import try_form
from runs.logs_watched import BUILD
from workspace.models import Role
from workspace.requests import SignedInRequest
from workspace.selectors import team_for

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
OF_MEMBERS = ("requests", "settings")
# A key names its service, a token or nothing does not.
NAMED_IN_CALLS = (Opening.TOKENS, Opening.OPEN)
ON_A_PAGE = 50


@require_safe
def service_list(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    after = request.GET.get("after", "")[:64].replace("\0", "")
    found = list(selectors.services_of(team).filter(name__gt=after)[: ON_A_PAGE + 1])
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
    found = _service(request, slug, name)
    revision = selectors.current_revision(found)
    signatures = signatures_of(revision.model_version)
    place = Place(
        scoring_uri=selectors.scoring_uri(found),
        model=revision.model_version.model.name,
        grpc=grpc_address(),
        grpc_name=f"{slug}/{found.name}" if found.opening in NAMED_IN_CALLS else "",
        needs_key=found.opening != Opening.OPEN,
    )
    new_keys = take_new_keys(request, found)
    response = tab(
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
        forget_new_keys(response, found)
        response["Cache-Control"] = "no-store"
    return response


@require_safe
def service_head(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Give the part above the tabs anew; the page asks for it every other second."""
    found = _service(request, slug, name)
    return render(request, "deploy/_service_head.html", head_context(found))


@require_safe
def service_logs(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    found = _service(request, slug, name)
    sources = list(logs_of_service(found)) or [BUILD]
    return tab(
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
            Name(slug, found.name), body, request.user.get_username()
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
            "answer": read_answer(answer),
        },
    )


async def _score(name: Name, body: bytes, caller: str) -> tuple[int, bytes]:
    return await gateway().score(name, body, caller)


def grpc_address() -> str:
    """Give where gRPC clients reach services, "" where none do."""
    port: int = settings.TRAINYARD_GRPC_PORT
    return f"{urlsplit(settings.TRAINYARD_URL).hostname}:{port}" if port else ""


def _service(request: SignedInRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.user, slug), name)


def tab(
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
                (key, TAB_NAMES.get(key, key.capitalize()), TABS[key], key in OF_MEMBERS)
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
