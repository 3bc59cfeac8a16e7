"""Answers for addresses that lead nowhere and for forms without their CSRF token."""

from django.http import HttpRequest, HttpResponse

from workspace.answers import answer_to
from workspace.errors import Forbidden, NotFound


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer_to(request, NotFound("There is nothing at this address."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return answer_to(
        request,
        Forbidden("The page was too old, or cookies are blocked. Load it again and try once more."),
    )
