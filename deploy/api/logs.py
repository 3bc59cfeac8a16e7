"""The REST API of services' logs."""

from typing import Any

from django.http.response import HttpResponseBase
from ninja import Router

from deploy.logs import logs_of_service
from deploy.selectors import service_of
from runs.api import log_responses
from runs.api.log_responses import (
    FirstLine,
    LineCount,
    LinesOut,
    MatchesOut,
    MatchLimit,
    Offset,
    SearchFrom,
    SearchText,
)
from runs.logs.sources import LogSource, log_named
from workspace.accounts.selectors import team_for
from workspace.platform.requests import ApiRequest

router = Router(tags=["services"])
LOG = "teams/{slug}/services/{name}/logs/{replica}"


@router.get(LOG, response={200: bytes}, summary="A replica's log")
def log(
    request: ApiRequest, slug: str, name: str, replica: str, offset: Offset
) -> HttpResponseBase:
    """Return the log of a replica (or `build`) from a byte offset on."""
    watched = _log(request, slug, name, replica)
    return log_responses.bytes_response(request, watched, offset, f"{name}-{replica}.log")


@router.get(f"{LOG}/lines", response=LinesOut, summary="Lines of a replica's log")
def log_lines(
    request: ApiRequest, slug: str, name: str, replica: str, first: FirstLine, count: LineCount
) -> dict[str, Any]:
    """Return lines of a log, counted from 0; a negative `first` counts from the end."""
    return log_responses.lines_response(_log(request, slug, name, replica), first, count)


@router.get(f"{LOG}/search", response=MatchesOut, summary="Search a replica's log")
def log_search(
    request: ApiRequest,
    slug: str,
    name: str,
    replica: str,
    q: SearchText,
    first: SearchFrom,
    limit: MatchLimit,
) -> dict[str, Any]:
    """Find a text in a log, whatever the case of its letters."""
    return log_responses.search_response(_log(request, slug, name, replica), q, first, limit)


def _log(request: ApiRequest, slug: str, name: str, replica: str) -> LogSource:
    service = service_of(team_for(request.auth, slug), name)
    return log_named(logs_of_service(service), replica)
