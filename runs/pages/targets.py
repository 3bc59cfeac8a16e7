"""The page of a compute target: its nodes, who holds what of them, who waits, and past use."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from runs.scheduling.queue_order import (
    may_reorder_queue,
    move_before,
    move_first,
    move_last,
    queue_of,
)
from runs.scheduling.target_usage import holders_of, usage_by_day, usage_of_nodes
from workspace.accounts.selectors import team_for
from workspace.models import ComputeTarget, Role
from workspace.platform.errors import Conflict
from workspace.platform.requests import SignedInRequest
from workspace.targets.pages import target_context
from workspace.targets.selectors import target_for
from workspace.targets.states import target_status


@require_safe
def target(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Show a target as it is now; the part that changes is asked for again and again."""
    team = team_for(request.user, slug)
    found = target_for(team, name)
    context = {
        **target_context(found, team, "overview"),
        **_now_on(found, request),
        "history": usage_by_day(found, timezone.now()),
    }
    context["most_hours"] = max((day.process_hours for day in context["history"]), default=0) or 1
    return render(request, "workspace/target.html", context)


@require_safe
def target_live(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    team = team_for(request.user, slug)
    found = target_for(team, name)
    context = {"target": found, "is_own": found.team == team, **_now_on(found, request)}
    return render(request, "workspace/_target_live.html", context)


@require_POST
def queue_move(request: SignedInRequest, slug: str, name: str, pk: int) -> HttpResponse:
    """Move a waiting run a place up or down, or to the top."""
    found = target_for(team_for(request.user, slug, Role.ADMIN), name)
    queue = [queued.run for queued in queue_of(found)]
    run = next((run for run in queue if run.pk == pk), None)
    if run is None:
        raise Conflict("That run is no longer queued here.")
    at, to = queue.index(run), request.POST.get("to")
    if to == "first":
        move_first(run, by=request.user)
    elif to == "up" and at > 0:
        move_before(run, queue[at - 1], by=request.user)
    elif to == "down" and at + 2 < len(queue):
        move_before(run, queue[at + 2], by=request.user)
    elif to == "down":
        move_last(run, by=request.user)
    return redirect("runs:target", slug, name)


def _now_on(target: ComputeTarget, request: SignedInRequest) -> dict[str, Any]:
    state = target_status(target)
    holders = holders_of(target, state.nodes)
    return {
        "state": state,
        "nodes": usage_of_nodes(state.nodes, holders),
        "holders": holders,
        "queue": queue_of(target),
        "may_reorder_queue": may_reorder_queue(target, request.user),
    }
