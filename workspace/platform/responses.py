"""How trouble is told: problem documents for the API, pages and fragments for browsers."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from workspace.platform.errors import DomainError, FieldError, Forbidden, NotFound, problem

API_PREFIX = "/api/"


def problem_response(
    status: int,
    detail: str,
    errors: Iterable[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    return JsonResponse(
        problem(status, detail, errors),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )


def error_response(request: HttpRequest, error: DomainError) -> HttpResponse:
    """Tell the caller of an API, an htmx element or a page what went wrong, each in its form."""
    if request.path.startswith(API_PREFIX):
        return problem_response(error.status, error.message, error.errors, error.headers())
    context = {
        "status": int(error.status),
        "title": HTTPStatus(error.status).phrase,
        "message": error.message,
        "errors": error.errors,
    }
    template = "workspace/_error.html" if _wants_fragment(request) else "error.html"
    response = render(request, template, context, status=error.status)
    for name, value in error.headers().items():
        response[name] = value
    return response


def _wants_fragment(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true" and "HX-Boosted" not in request.headers


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, NotFound("Page not found."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return error_response(
        request,
        Forbidden("The form expired or cookies are blocked. Reload the page and try again."),
    )
