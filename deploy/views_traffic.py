"""The tabs that show what comes to a service: its traffic and the requests that it keeps."""

from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from deploy import door, selectors
from deploy.models import Service
from deploy.series import PERCENTILES, WINDOWS, Series, series_of, window_named
from deploy.views import tab
from workspace.models import Role
from workspace.requests import SignedInRequest
from workspace.selectors import team_for

DEFAULT_WINDOW = "1h"


@require_safe
def traffic(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    service = selectors.service_of(team_for(request.user, slug), name)
    window = request.GET.get("window", DEFAULT_WINDOW)
    series = series_of(service, window_named(window))
    return tab(
        request,
        service,
        "traffic",
        {
            "window": window,
            "windows": list(WINDOWS),
            "totals": totals_of(series),
            "refresh": series.refresh_seconds,
            "source": f"/api/v1/teams/{slug}/services/{name}/traffic?window={window}",
        },
    )


@require_safe
def traffic_totals(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Give the table of sums anew; the page asks for it every few seconds."""
    service = selectors.service_of(team_for(request.user, slug), name)
    window = request.GET.get("window", DEFAULT_WINDOW)
    series = series_of(service, window_named(window))
    return render(
        request,
        "deploy/_traffic_totals.html",
        {
            "service": service,
            "window": window,
            "totals": totals_of(series),
            "refresh": series.refresh_seconds,
        },
    )


def totals_of(series: Series) -> list[dict[str, object]]:
    return [
        {
            "revision": line.revision,
            "requests": line.total.requests,
            "per_second": line.total.requests / series.seconds,
            "errors": line.total.errors,
            "error_percent": 100 * line.total.errors / max(line.total.requests, 1),
            "differing": line.total.differing,
            "latencies": [(share, line.total.milliseconds(share)) for share in PERCENTILES],
        }
        for line in series.lines
    ]


@require_safe
def requests(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """List the requests that a service kept; they may hold what people sent."""
    service = _of_member(request, slug, name)
    cursor = request.GET.get("cursor", "")
    page, older = selectors.requests_after(service, cursor)
    return tab(
        request,
        service,
        "requests",
        {
            "logged": page,
            "older": f"?{urlencode({'cursor': older})}" if older else "",
            "newer": request.path if cursor else "",
        },
    )


@require_POST
def clear_requests(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    door.clear_request_log(service=_of_member(request, slug, name), by=request.user)
    messages.success(request, "The kept requests are deleted.")
    return redirect("deploy:requests", slug, name)


def _of_member(request: SignedInRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.user, slug, Role.MEMBER), name)
