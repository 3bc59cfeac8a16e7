"""The page that lists runs: searched, sorted, and with the columns that people choose."""

from collections.abc import Mapping
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from runs import selectors
from runs.models import Run
from runs.pages import presentation
from runs.search.entities import RUNS
from runs.search.grammar import looks_like_filter
from runs.search.run_search import (
    Column,
    RunSearch,
    column_values,
    read_columns,
    read_search,
)
from runs.states import UNFINISHED, RunStatus
from workspace.accounts.selectors import team_for
from workspace.models import Experiment
from workspace.platform.errors import CollectedErrors
from workspace.platform.requests import SignedInRequest

FILTERS = ("experiment", "status", "q", "tag", "archived", "parent")
CHOICES = (*FILTERS, "sort", "columns")


@require_GET
def run_list(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    chosen = {name: request.GET.get(name, "") for name in CHOICES}
    chosen |= {name: chosen[name].strip() for name in CHOICES if name != "experiment"}
    runs = selectors.runs_of(team)
    errors = CollectedErrors()
    no_columns: list[Column] = []
    columns = errors.of(lambda: read_columns(chosen["columns"]), no_columns)
    no_page: tuple[list[Run], str] = ([], "")
    page, cursor = errors.of(
        lambda: _page(runs, chosen, request.GET.get("cursor", "")),
        no_page,
    )
    kept = {name: value for name, value in chosen.items() if value}
    now = timezone.now()
    values = column_values(page, columns) if columns else {}
    here = kept | {name: request.GET[name] for name in ("cursor",) if name in request.GET}
    context = {
        "team": team,
        "rows": [
            {
                "run": run,
                "mode": presentation.mode_text(run),
                "seconds": presentation.length_of(run, now),
                "values": [
                    (column.name, presentation.value_text(value))
                    for column, value in zip(columns, values.get(run.pk, ()), strict=False)
                ],
            }
            for run in page
        ],
        "columns": [_head(column, kept) for column in columns],
        "chosen": chosen,
        "errors": {error.field: error.message for error in errors.errors},
        "is_filtered": any(chosen[name] for name in FILTERS) or (not page and runs.exists()),
        "has_active": any(run.status in UNFINISHED for run in page),
        "query": urlencode(here),
        "older": f"?{urlencode(kept | {'cursor': cursor})}" if cursor else "",
        "newest": f"?{urlencode(kept)}" if request.GET.get("cursor") else "",
    }
    if request.headers.get("HX-Request"):
        return render(request, "runs/_run_rows.html", context)
    return render(
        request,
        "runs/run_list.html",
        {
            **context,
            "experiments": Experiment.objects.filter(team=team, archived_at=None).order_by("name"),
            "statuses": RunStatus.values,
        },
    )


def _page(runs: QuerySet[Run], chosen: Mapping[str, str], cursor: str) -> tuple[list[Run], str]:
    """Return a page of runs and the next cursor; the search box takes a filter or plain words."""
    words = {name: chosen[name] for name in FILTERS}
    errors = CollectedErrors()
    text = ""
    if looks_like_filter(words["q"], RUNS):
        text, words["q"] = words["q"], ""
    search = errors.of(lambda: read_search(text, (), chosen["sort"]), RunSearch())
    found = errors.of(lambda: selectors.filtered(runs, **words), runs)
    errors.raise_all()
    return search.page(found, cursor)


def _head(column: Column, kept: Mapping[str, str]) -> dict[str, str]:
    """Return a column's head: how the list is sorted by it, and the address that sorts it so."""
    ways = {f"{column.sort}:asc": "ascending", f"{column.sort}:desc": "descending"}
    is_sorted = ways.get(kept.get("sort", ""), "")
    following = "desc" if is_sorted == "ascending" else "asc"
    return {
        "name": column.name,
        "sorted": is_sorted,
        "address": f"?{urlencode({**kept, 'sort': f'{column.sort}:{following}'})}",
    }
