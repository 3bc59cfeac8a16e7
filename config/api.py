"""The REST API: its callers, its routers and the one form that its errors have."""

import logging
from typing import Any

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.errors import Throttled as NinjaThrottled
from ninja.openapi.schema import OpenAPISchema

from workspace.accounts.api_auth import API_AUTH
from workspace.platform.errors import DomainError, FieldError, Invalid, TooLarge
from workspace.platform.json_body import StrictParser
from workspace.platform.openapi import add_models, add_problems
from workspace.platform.responses import error_response, problem_response

logger = logging.getLogger(__name__)

ROUTERS = (
    "workspace.accounts.api",
    "workspace.secrets.api",
    "workspace.environments.api",
    "workspace.targets.api",
    "runs.api.runs",
    "runs.api.experiments",
    "runs.api.schemas",
    "runs.api.targets",
    "runs.api.uploads",
    "runs.api.run_data",
    "runs.api.comparison",
    "models.api.registration",
    "models.api.versions",
    "models.api.conversions",
    "deploy.api.services",
    "deploy.api.access",
    "deploy.api.insight",
    "deploy.api.logs",
)


class TrainyardAPI(NinjaAPI):
    """The API, whose OpenAPI document has errors and the models of configurations too."""

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        document = super().get_openapi_schema(**options)
        add_models(document)
        add_problems(document)
        return document


api = TrainyardAPI(
    title="Trainyard",
    version="1",
    description="Train TensorFlow models, register them, and serve them.",
    auth=API_AUTH,
    parser=StrictParser(),
    urls_namespace="api",
)
for module in ROUTERS:
    api.add_router("", f"{module}.router")


@api.exception_handler(DomainError)
def domain_error(request: HttpRequest, error: DomainError) -> HttpResponse:
    return error_response(request, error)


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
    if place[0] == "body" and len(place) == 2 and entry["type"] == "missing":
        return FieldError("body", "Send a JSON object.")
    message = str(entry["msg"]).removeprefix("Value error, ")
    return FieldError(".".join(known) or place[-1], message)


@api.exception_handler(RequestDataTooBig)
def body_too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return error_response(request, TooLarge("The request is too large for a JSON body."))


@api.exception_handler(MultiPartParserError)
@api.exception_handler(SuspiciousOperation)
@api.exception_handler(BadRequest)
def unreadable(request: HttpRequest, error: Exception) -> HttpResponse:
    """Answer what Django could not read of a request, wherever a view first looked at it."""
    return error_response(request, Invalid(f"The request cannot be read: {error}"[:500]))


@api.exception_handler(HttpError)
def http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error.__cause__, ValueError | RecursionError):  # of a body that was parsed
        return error_response(
            request, Invalid.of(FieldError("body", f"Not valid JSON: {error.__cause__}"))
        )
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
    return problem_response(404, str(error) or "Not found.")


@api.exception_handler(Exception)
def unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    got_request_exception.send(sender=None, request=request)
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return problem_response(500, "Internal error. See the server log.")
