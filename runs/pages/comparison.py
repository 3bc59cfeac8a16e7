"""The page that holds runs beside each other; its address names them."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from runs.comparison import chosen_runs, compare_runs, source_diff
from workspace.accounts.selectors import may, team_for
from workspace.models import Role
from workspace.platform.requests import SignedInRequest

TITLES = {
    "parameters": "Parameters",
    "metrics": "Metrics, last values",
    "tags": "Tags",
    "configuration": "Configuration",
    "environment": "Packages of the environment",
}
# Of these, what is alike says nothing.
DIFFERENCES_ONLY = {"configuration", "environment"}


@require_safe
def compare(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    runs = chosen_runs(team, request.GET.get("runs", ""))
    compared = compare_runs(runs, for_viewer=not may(request.user, team, Role.MEMBER))
    parts = [
        (title, [row for row in compared[name] if row.differs or name not in DIFFERENCES_ONLY])
        for name, title in TITLES.items()
    ]
    changed = [row for row in compared["source"] if row.differs]
    context = {
        "runs": runs,
        "parts": [(title, rows) for title, rows in parts if rows],
        "changed_files": changed,
        "diffs": source_diff(*runs) if len(runs) == 2 else [],
    }
    return render(request, "runs/comparison.html", context)
