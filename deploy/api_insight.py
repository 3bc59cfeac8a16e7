"""The REST API of what a service tells of itself: its OpenAPI document and its traffic."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from ninja import Router, Schema

from deploy.openapi import Described, document_of
from deploy.selectors import current_revision, service_of
from deploy.series import WINDOWS, as_json, series_of, window_named
from deploy.tensors import signatures_of
from workspace.requests import ApiRequest
from workspace.selectors import team_for

router = Router(tags=["services"])


@router.get(
    "teams/{slug}/services/{name}/openapi.json",
    response={200: dict[str, Any]},
    summary="A service as an OpenAPI document",
)
def openapi(request: ApiRequest, slug: str, name: str) -> HttpResponse:
    """Gives an OpenAPI 3.1 document, its schemas made from the model's signatures."""
    service = service_of(team_for(request.auth, slug), name)
    version = current_revision(service).model_version
    return JsonResponse(
        document_of(
            Described(
                team=slug,
                name=service.name,
                server=settings.TRAINYARD_URL,
                model=version.model.name,
                version=version.version,
                framework_version=version.framework_version,
                opening=service.opening,
                signatures=signatures_of(version),
            )
        )
    )


class LineOut(Schema):
    """Values for each step; percentiles are null where nothing was asked."""

    number: int
    model: str
    is_shadow: bool
    requests_per_second: list[float]
    errors_per_second: list[float]
    differing_per_second: list[float]
    in_flight: list[float]
    p50_ms: list[float | None]
    p95_ms: list[float | None]
    p99_ms: list[float | None]


class TrafficOut(Schema):
    """`at` holds the start of each step in seconds since 1970."""

    step_seconds: int
    at: list[int]
    revisions: list[LineOut]


@router.get(
    "teams/{slug}/services/{name}/traffic",
    response=TrafficOut,
    summary="Requests, errors and latencies of a service by revision",
    description=f"`window` is one of {', '.join(WINDOWS)}.",
)
def traffic(request: ApiRequest, slug: str, name: str, window: str = "1h") -> dict[str, Any]:
    service = service_of(team_for(request.auth, slug), name)
    return as_json(series_of(service, window_named(window)))
