"""The REST API: its callers, its routers and the one form that its errors have."""

import logging
from typing import Any

from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.errors import Throttled as NinjaThrottled

from workspace.answers import answer_to, problem_response
from workspace.api_auth import CALLERS
from workspace.errors import DomainError, FieldError

logger = logging.getLogger(__name__)

ROUTERS = (
    "workspace.api",
    "workspace.api_environments",
    "workspace.api_targets",
    "runs.api",
    "runs.api_targets",
    "runs.api_uploads",
    "runs.api_logs",
    "models.api",
    "models.api_versions",
    "models.api_work",
    "deploy.api",
    "deploy.api_door",
    "deploy.api_insight",
    "deploy.api_logs",
)

api = NinjaAPI(
    title="Trainyard",
    version="1",
    description="Train TensorFlow models, register them, and serve them.",
    auth=CALLERS,
    urls_namespace="api",
)
for module in ROUTERS:
    api.add_router("", f"{module}.router")


@api.exception_handler(DomainError)
def domain_error(request: HttpRequest, error: DomainError) -> HttpResponse:
    return answer_to(request, error)


@api.exception_handler(ValidationError)
def validation_error(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = tuple(_field_error(entry) for entry in error.errors)
    return problem_response(
        400, " ".join(f"{entry.field}: {entry.message}" for entry in errors), errors
    )


def _field_error(entry: dict[str, Any]) -> FieldError:
    place = [str(part) for part in entry["loc"]]
    # ("body", "payload", "name"): the source and the Python name of the argument mean nothing
    # to the caller. ("query", "limit") keeps its only name.
    known = place[2:] if place[0] in {"body", "form", "file"} and len(place) > 2 else place[1:]
    message = str(entry["msg"]).removeprefix("Value error, ")
    return FieldError(".".join(known) or place[-1], message)


@api.exception_handler(HttpError)
def http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    if error.status_code == 401:
        return problem_response(
            401,
            "Log in: send the header Authorization: Bearer TOKEN with a token that is not expired"
            " or revoked.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    headers = {}
    if isinstance(error, NinjaThrottled) and error.wait:
        headers["Retry-After"] = str(int(error.wait))
    return problem_response(error.status_code, error.message, headers=headers)


@api.exception_handler(Http404)
def not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem_response(404, str(error) or "There is nothing here.")


@api.exception_handler(Exception)
def unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    got_request_exception.send(sender=None, request=request)
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return problem_response(500, "The server failed to answer; its log says why.")
