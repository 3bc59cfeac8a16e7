"""JSON Schemas for editors, readable without a token."""

from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from ninja import Router

from runs.config import RunConfig

router = Router(tags=["schemas"])

DRAFT = "https://json-schema.org/draft/2020-12/schema"


@router.get("schemas/run.json", auth=None, response=dict[str, Any])
def run_schema(request: HttpRequest) -> JsonResponse:
    """Return the JSON Schema (draft 2020-12) of a run's configuration, run.json."""
    return JsonResponse(run_json_schema(), content_type="application/schema+json")


@cache
def run_json_schema() -> dict[str, Any]:
    schema = RunConfig.model_json_schema()
    return {
        "$schema": DRAFT,
        "$id": f"{settings.TRAINYARD_URL.rstrip('/')}/api/v1/schemas/run.json",
        **schema,
        "title": "Trainyard run configuration",
    }
