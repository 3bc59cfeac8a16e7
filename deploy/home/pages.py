"""The first page of a team."""

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from deploy.home.attention import attention_of
from deploy.home.recent_runs import runs_now
from deploy.home.service_health import services_now
from runs.models import Run
from runs.scheduling.free_capacity import free_capacities
from workspace.accounts.selectors import membership_for
from workspace.platform.requests import SignedInRequest
from workspace.targets.selectors import targets_for
from workspace.targets.states import target_statuses

WHOSE = {"team": "Team", "mine": "Mine"}


@require_safe
def home(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show how a team is now; the page asks for its content again and again."""
    member = membership_for(request.user, slug)
    team, now = member.team, timezone.now()
    whose = "mine" if request.GET.get("runs") == "mine" else "team"
    targets = list(targets_for(team))
    services = services_now(team, now)
    context = {
        "whose": whose,
        "choices": WHOSE,
        "attention": attention_of(member, targets, now),
        "runs": runs_now(team, request.user if whose == "mine" else None, now),
        "services": services,
        "capacities": free_capacities(target_statuses(targets)),
        "is_new": not services.count and not Run.objects.filter(team=team).exists(),
    }
    is_part = bool(request.headers.get("HX-Request"))
    return render(request, "deploy/_home_now.html" if is_part else "deploy/home.html", context)
