"""The tabs that show what comes to a service: its traffic and the requests that it keeps."""

from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from deploy import access_policy, selectors
from deploy.models import Service
from deploy.pages.lookup import editable_service, visible_service
from deploy.pages.service import render_tab
from deploy.traffic.time_series import PERCENTILES, WINDOWS, TrafficSeries, series_of, window_named
from workspace.platform.requests import SignedInRequest

DEFAULT_WINDOW = "1h"


@require_safe
def traffic(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    service = visible_service(request, slug, name)
    totals = _totals(request, service)
    source = f"/api/v1/teams/{slug}/services/{name}/traffic?window={totals['window']}"
    context = {"windows": list(WINDOWS), "source": source, **totals}
    return render_tab(request, service, "traffic", context)


@require_safe
def traffic_totals(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Return the table of totals; the page requests it every few seconds."""
    service = visible_service(request, slug, name)
    context = {"service": service, **_totals(request, service)}
    return render(request, "deploy/_traffic_totals.html", context)


def _totals(request: SignedInRequest, service: Service) -> dict[str, object]:
    """Return the totals of the requested window, and the seconds until the next request."""
    window = request.GET.get("window", DEFAULT_WINDOW)
    series = series_of(service, window_named(window))
    return {
        "window": window,
        "totals": totals_of(series),
        "refresh": series.refresh_seconds,
    }


def totals_of(series: TrafficSeries) -> list[dict[str, object]]:
    return [
        {
            "revision": line.revision,
            "requests": line.total.requests,
            "per_second": line.total.requests / series.seconds,
            "errors": line.total.errors,
            "error_percent": 100 * line.total.errors / max(line.total.requests, 1),
            "mismatches": line.total.mismatches,
            "latencies": [(share, line.total.milliseconds(share)) for share in PERCENTILES],
        }
        for line in series.lines
    ]


@require_safe
def requests(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """List the requests that a service kept; they may hold what people sent."""
    service = editable_service(request, slug, name)
    cursor = request.GET.get("cursor", "")
    page, older = selectors.requests_after(service, cursor)
    return render_tab(
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
    access_policy.delete_logged_requests(
        service=editable_service(request, slug, name), by=request.user
    )
    messages.success(request, "Deleted the logged requests.")
    return redirect("deploy:requests", slug, name)
