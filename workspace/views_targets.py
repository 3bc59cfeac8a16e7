"""Pages on which admins add, set, share, try and remove compute targets."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from workspace.errors import Conflict, DomainError, FieldError, Invalid, NotFound
from workspace.forms import add_errors
from workspace.forms_targets import GrantForm, NewTargetForm, TargetForm
from workspace.models import ComputeTarget, Role, TargetGrant, TargetKind, Team
from workspace.pools import engine_here, pool_problem
from workspace.requests import SignedInRequest
from workspace.selectors import own_target, sharers_of, targets_for, team_for
from workspace.target_states import target_state, target_states
from workspace.targets import (
    add_target,
    delete_target,
    grant_target,
    revoke_grant,
    update_target,
)
from workspace.trials import last_trial, request_trial

STATES: dict[str, tuple[dict[str, bool], str]] = {
    "open": ({"is_paused": False, "is_draining": False}, "in use again"),
    "paused": ({"is_paused": True}, "paused: nothing new starts on it"),
    "draining": ({"is_draining": True}, "being drained: nothing new is taken"),
}


@require_safe
def targets(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    states = target_states(targets_for(team))
    has_it = any(state.target.address == settings.DOCKER_HOST for state in states)
    context = {"targets": states, "offered": "" if has_it else engine_here()}
    return render(request, "workspace/targets.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def target_new(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, Role.ADMIN)
    asked = request.POST.get("kind") or request.GET.get("kind") or TargetKind.DOCKER.value
    if asked not in TargetKind.values:
        raise NotFound("There is no such kind of compute target.")
    kind = TargetKind(asked)
    form = NewTargetForm(request.POST or None, kind=kind)
    if request.method == "POST" and form.is_valid():
        fields = form.changes()
        try:
            made = add_target(team=team, by=request.user, kind=kind, **fields)
        except (Invalid, Conflict) as error:
            add_errors(form, error)
        else:
            return _made(request, made)
    return render(
        request,
        "workspace/target_new.html",
        {"form": form, "kind": kind, "kinds": TargetKind.choices},
        status=422 if form.is_bound else 200,
    )


@require_POST
def use_this_engine(request: SignedInRequest, slug: str) -> HttpResponse:
    """Make a target of the engine that answers at this machine's usual socket."""
    team = team_for(request.user, slug, Role.ADMIN)
    taken = set(targets_for(team).values_list("name", flat=True))
    name = next(n for n in ("docker", *(f"docker-{i}" for i in range(2, 99))) if n not in taken)
    made = add_target(
        team=team, by=request.user, name=name, kind=TargetKind.DOCKER, address=settings.DOCKER_HOST
    )
    return _made(request, made)


def _made(request: SignedInRequest, made: ComputeTarget) -> HttpResponse:
    """Try a target at once, so that its maker sees what works."""
    pool_problem(made)
    messages.success(request, f"The compute target {made.name} is made.")
    try:
        request_trial(made, by=request.user)
    except DomainError as error:
        messages.warning(request, error.message)
    return redirect("workspace:target_test", made.team.slug, made.name)


@require_http_methods(["GET", "HEAD", "POST"])
def target_settings(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Change what a target allows and how it is reached."""
    found = _own(request, slug, name)
    form = TargetForm(
        request.POST or None,
        kind=TargetKind(found.kind),
        initial=TargetForm.initial_of(found),
    )
    if request.method == "POST" and form.is_valid():
        try:
            update_target(target=found, by=request.user, **form.changes())
        except (Invalid, Conflict) as error:
            found.refresh_from_db()
            add_errors(form, error)
        else:
            pool_problem(found)
            messages.success(request, f"{found.name} is saved.")
            return redirect("workspace:target_settings", slug, name)
    return _page(request, found, "settings", {"form": form}, is_refused=form.is_bound)


@require_http_methods(["GET", "HEAD", "POST"])
def target_access(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Say which teams may use a target, and how much of it."""
    found = _own(request, slug, name)
    form = GrantForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        limits = dict(form.cleaned_data)
        to = limits.pop("team")
        try:
            grant_target(target=found, by=request.user, team=_team(to), **limits)
        except (Invalid, Conflict) as error:
            add_errors(form, error)
        else:
            messages.success(request, f"{to} may use {found.name} within these limits.")
            return redirect("workspace:target_access", slug, name)
    grants = found.grants.select_related("team").order_by("team__name")
    return _page(
        request, found, "access", {"form": form, "grants": grants}, is_refused=form.is_bound
    )


@require_POST
def revoke(request: SignedInRequest, slug: str, name: str, to: str) -> HttpResponse:
    found = _own(request, slug, name)
    grant = TargetGrant.objects.filter(target=found, team__slug=to).first()
    if grant is None:
        raise NotFound(f"{to} was not given {name}.")
    revoke_grant(grant=grant, by=request.user)
    messages.success(request, f"The limits of {to} on {name} are gone.")
    return redirect("workspace:target_access", slug, name)


@require_http_methods(["GET", "HEAD", "POST"])
def target_test(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Show the latest trial of a target, or begin another."""
    found = _own(request, slug, name)
    if request.method == "POST":
        request_trial(found, by=request.user)
        return redirect("workspace:target_test", slug, name)
    return _page(request, found, "test", {"trial": last_trial(found)})


@require_safe
def trial_steps(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    found = _own(request, slug, name)
    context = {"trial": last_trial(found), "target": found}
    return render(request, "workspace/_trial.html", context)


@require_POST
def target_set(request: SignedInRequest, slug: str, name: str, state: str) -> HttpResponse:
    """Open, pause or drain a target."""
    found = _own(request, slug, name)
    if state not in STATES:
        raise NotFound(f"A target can be {', '.join(STATES)}.")
    changes, done = STATES[state]
    update_target(target=found, by=request.user, **changes)
    messages.success(request, f"{name} is {done}.")
    return redirect("runs:target", slug, name)


@require_POST
def target_delete(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    delete_target(target=_own(request, slug, name), by=request.user)
    messages.success(request, f"The compute target {name} is removed.")
    return redirect("workspace:targets", slug)


def _own(request: SignedInRequest, slug: str, name: str) -> ComputeTarget:
    return own_target(team_for(request.user, slug, Role.ADMIN), name)


def _team(slug: str) -> Team:
    found = Team.objects.filter(slug=slug).first()
    if found is None:
        raise Invalid.of(FieldError("team", f"There is no team {slug!r}."))
    return found


def _page(
    request: SignedInRequest,
    target: ComputeTarget,
    tab: str,
    more: dict[str, Any],
    *,
    is_refused: bool = False,
) -> HttpResponse:
    context = {**target_context(target, target.team, tab), **more}
    status = 422 if is_refused else 200
    return render(request, f"workspace/target_{tab}.html", context, status=status)


def target_context(target: ComputeTarget, team: Team, tab: str) -> dict[str, Any]:
    """Give what the head of every page of a target shows to a team."""
    return {
        "state": target_state(target),
        "target": target,
        "tab": tab,
        "is_own": target.team == team,
        "sharers": sharers_of(target),
    }
