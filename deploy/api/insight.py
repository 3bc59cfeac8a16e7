"""The REST API of what a service tells of itself: its OpenAPI document, traffic and drift."""

import json
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from ninja import Router, Schema, Status

from deploy.contract.openapi import ServiceDescription, document_of
from deploy.contract.signatures import signatures_of
from deploy.models import Service
from deploy.selectors import current_revision, service_of
from deploy.traffic import baselines
from deploy.traffic.time_series import WINDOWS, as_json, series_of, window_named
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.requests import ApiRequest

router = Router(tags=["services"])


@router.get(
    "teams/{slug}/services/{name}/openapi.json",
    response={200: dict[str, Any]},
    summary="A service as an OpenAPI document",
)
def openapi(request: ApiRequest, slug: str, name: str) -> HttpResponse:
    """Return an OpenAPI 3.1 document, its schemas made from the model's signatures."""
    service = service_of(team_for(request.auth, slug), name)
    version = current_revision(service).model_version
    return JsonResponse(
        document_of(
            ServiceDescription(
                team=slug,
                name=service.name,
                server=settings.TRAINYARD_URL,
                model=version.model.name,
                version=version.version,
                framework_version=version.framework_version,
                access_policy=service.access_policy,
                signatures=signatures_of(version),
            )
        )
    )


class RevisionSeriesOut(Schema):
    """Values for each step; percentiles are null where nothing was asked."""

    number: int
    model: str
    is_shadow: bool
    requests_per_second: list[float]
    errors_per_second: list[float]
    mismatches_per_second: list[float]
    in_flight: list[float]
    p50_ms: list[float | None]
    p95_ms: list[float | None]
    p99_ms: list[float | None]


class TrafficOut(Schema):
    """`at` holds the start of each step in seconds since 1970."""

    step_seconds: int
    at: list[int]
    revisions: list[RevisionSeriesOut]


@router.get(
    "teams/{slug}/services/{name}/traffic",
    response=TrafficOut,
    summary="Requests, errors and latencies of a service by revision",
    description=f"`window` is one of {', '.join(WINDOWS)}.",
)
def traffic(request: ApiRequest, slug: str, name: str, window: str = "1h") -> dict[str, Any]:
    service = service_of(team_for(request.auth, slug), name)
    return as_json(series_of(service, window_named(window)))


class BaselineOut(Schema):
    at: datetime
    source: str
    rows: int


class FeatureOut(Schema):
    """`psi` is the population stability index, `expected_by_chance` the most chance gives."""

    name: str
    verdict: str
    psi: float
    expected_by_chance: float
    bins: list[str]
    then: list[int]
    now: list[int]


class DriftOut(Schema):
    baseline: BaselineOut | None
    rows: int
    features: list[FeatureOut]


DRIFT = "teams/{slug}/services/{name}/drift"


@router.get(DRIFT, response=DriftOut, summary="How far the inputs have moved from the baseline")
def drift(request: ApiRequest, slug: str, name: str) -> dict[str, Any]:
    """Holds the requests kept since the baseline was set against it, once there are enough."""
    return _drift_of(service_of(team_for(request.auth, slug), name))


@router.put(
    DRIFT,
    response=DriftOut,
    summary="Set the baseline of the inputs",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "oneOf": [
                            {"type": "object", "properties": {"source": {"const": "requests"}}},
                            {"type": "object", "properties": {"instances": {"type": "array"}}},
                        ]
                    }
                }
            },
        }
    },
)
def set_baseline(request: ApiRequest, slug: str, name: str) -> dict[str, Any]:
    """Takes the kept requests with {"source": "requests"}, else the instances of the body."""
    team = team_for(request.auth, slug, Role.MEMBER)
    service = service_of(team, name)
    content = request.body
    if _asks_for_requests(content):
        baselines.set_from_requests(service=service, by=request.auth)
    else:
        baselines.set_from_file(service=service, by=request.auth, content=content)
    return _drift_of(service_of(team, name))


@router.delete(DRIFT, response={204: None}, summary="Delete the baseline of the inputs")
def clear_baseline(request: ApiRequest, slug: str, name: str) -> Status[None]:
    service = service_of(team_for(request.auth, slug, Role.MEMBER), name)
    baselines.clear(service=service, by=request.auth)
    return Status(204, None)


def _asks_for_requests(content: bytes) -> bool:
    try:
        return bool(json.loads(content) == {"source": baselines.FROM_REQUESTS})
    except (ValueError, RecursionError):
        return False


def _drift_of(service: Service) -> dict[str, Any]:
    report = baselines.drift_report(service)
    if report is None:
        return {"baseline": None, "rows": 0, "features": []}
    features = [
        {
            "name": one.name,
            "verdict": one.verdict.value,
            "psi": one.psi,
            "expected_by_chance": one.expected_by_chance,
            "bins": one.then.labels,
            "then": list(one.then.counts),
            "now": list(one.now.counts),
        }
        for one in report.comparisons
    ]
    about = {"at": report.set_at, "source": report.source, "rows": report.baseline_rows}
    return {"baseline": about, "rows": report.rows, "features": features}
