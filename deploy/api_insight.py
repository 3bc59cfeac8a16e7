"""The REST API of what a service tells of itself: its OpenAPI document."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from ninja import Router

from deploy.openapi import Described, document_of
from deploy.selectors import current_revision, service_of
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
