"""The page of a compute target: its nodes, who holds what of them, who waits, and past use."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from runs.models import Run
from runs.states import RunStatus
from runs.target_holders import holders_of, use_by_day, use_of_nodes
from workspace.models import ComputeTarget, Team
from workspace.requests import SignedInRequest
from workspace.selectors import target_for, team_for
from workspace.target_states import target_state
from workspace.views_targets import target_context


@require_safe
def target(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Show a target as it is now; the part that changes is asked for again and again."""
    team = team_for(request.user, slug)
    found = target_for(team, name)
    context = {
        **target_context(found, team, "overview"),
        **_now_on(found, team),
        "history": use_by_day(found, timezone.now()),
    }
    context["most_hours"] = max((day.process_hours for day in context["history"]), default=0) or 1
    return render(request, "workspace/target.html", context)


@require_safe
def target_live(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    team = team_for(request.user, slug)
    found = target_for(team, name)
    context = {"target": found, "is_own": found.team == team, **_now_on(found, team)}
    return render(request, "workspace/_target_live.html", context)


def _now_on(target: ComputeTarget, team: Team) -> dict[str, Any]:
    state = target_state(target)
    holders = holders_of(target, state.nodes)
    return {
        "state": state,
        "nodes": use_of_nodes(state.nodes, holders),
        "holders": holders,
        "queue": Run.objects.filter(target=target, status=RunStatus.QUEUED)
        .select_related("team", "created_by")
        .order_by("-priority", "pk"),
    }
