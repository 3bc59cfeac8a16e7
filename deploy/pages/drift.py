"""The tab that holds a service's inputs against a baseline."""

from typing import NamedTuple

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from deploy.pages.lookup import editable_service, visible_service
from deploy.pages.service import render_tab
from deploy.traffic import baselines
from deploy.traffic.baselines import DriftReport
from deploy.traffic.drift import MIN_ROWS, Comparison
from workspace.platform.errors import Invalid
from workspace.platform.requests import SignedInRequest

Bin = tuple[str, float, float]
HEIGHT, COLUMN, GAP = 28, 9, 5


class HistogramBar(NamedTuple):
    x: int
    y: int
    width: int
    height: int
    is_then: bool


class Drawing(NamedTuple):
    """Columns of shares, in pixels."""

    width: int
    height: int
    bars: list[HistogramBar]


@require_safe
def drift(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    service = visible_service(request, slug, name)
    report = baselines.drift_report(service)
    return render_tab(
        request,
        service,
        "drift",
        {
            "report": report,
            "rows": _rows(report),
            "fewest": MIN_ROWS,
        },
    )


def _rows(report: DriftReport | None) -> list[tuple[Comparison, list[Bin], Drawing]]:
    found = []
    for one in report.comparisons if report else []:
        bins = _bins(one)
        found.append((one, bins, _drawing(bins)))
    return found


def _drawing(bins: list[Bin]) -> Drawing:
    """Lay out two columns for each bin, the highest as high as the drawing."""
    most = max(share for one in bins for share in one[1:])
    bars = []
    for place, (_, *shares) in enumerate(bins):
        for side, share in enumerate(shares):
            height = max(1, round(HEIGHT * share / most))
            x = place * (2 * COLUMN + GAP) + side * COLUMN
            bars.append(HistogramBar(x, HEIGHT - height, COLUMN - 1, height, is_then=side == 0))
    return Drawing(len(bins) * (2 * COLUMN + GAP) - GAP, HEIGHT, bars)


def _bins(one: Comparison) -> list[Bin]:
    """Return each bin that holds something with its shares then and now."""
    counts = zip(one.then.labels, one.then.counts, one.now.counts, strict=True)
    return [
        (label, then / one.then.total, now / one.now.total)
        for label, then, now in counts
        if then or now
    ]


@require_POST
def set_baseline(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    service = editable_service(request, slug, name)
    file = request.FILES.get("file")
    try:
        if file:
            content = file.read(baselines.LARGEST_FILE + 1)
            baselines.set_from_file(service=service, by=request.user, content=content)
        else:
            baselines.set_from_requests(service=service, by=request.user)
    except Invalid as error:
        messages.error(request, error.errors[0].message if error.errors else error.message)
    else:
        messages.success(request, "Saved the baseline.")
    return redirect("deploy:drift", slug, name)


@require_POST
def clear_baseline(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    baselines.clear(service=editable_service(request, slug, name), by=request.user)
    messages.success(request, "Deleted the baseline.")
    return redirect("deploy:drift", slug, name)
