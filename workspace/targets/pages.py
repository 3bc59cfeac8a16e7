"""Pages on which admins add, change, test, share and delete compute targets."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from workspace.accounts.selectors import team_for
from workspace.compute.registry import KINDS, kind_titles
from workspace.models import ComputeTarget, Role, TargetGrant, TargetOffer, Team
from workspace.platform.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
)
from workspace.platform.requests import SignedInRequest
from workspace.targets.connection_test import latest_connection_test, request_connection_test
from workspace.targets.forms import GrantForm, NewTargetForm, TargetForm
from workspace.targets.pools import detect_local_engine, pool_problem
from workspace.targets.selectors import own_target, targets_for, targets_sharing_nodes_with
from workspace.targets.services import (
    add_target,
    delete_target,
    is_in_use,
    left_behind,
    update_target,
)
from workspace.targets.settings import NewTarget, TargetSettings
from workspace.targets.sharing import (
    accept_offer,
    decline_share,
    offer_for,
    offer_target,
    offers_for,
    withdraw_share,
)
from workspace.targets.states import target_status, target_statuses

STATES: dict[str, tuple[TargetSettings, str]] = {
    "open": (TargetSettings(is_paused=False, is_draining=False), "in use again"),
    "paused": (TargetSettings(is_paused=True), "paused: nothing new starts on it"),
    "draining": (TargetSettings(is_draining=True), "draining: new work is refused"),
}


@require_safe
def targets(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    states = target_statuses(targets_for(team))
    has_it = any(state.target.address == settings.DOCKER_HOST for state in states)
    is_offered = request.user.is_superuser and not has_it
    context = {
        "targets": states,
        "offered": detect_local_engine() if is_offered else "",
        "offers": offers_for(team),
    }
    return render(request, "workspace/targets.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def target_new(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, Role.ADMIN)
    kind = request.POST.get("kind") or request.GET.get("kind") or "docker"
    if kind not in KINDS:
        raise NotFound("There is no such kind of compute target.")
    form = NewTargetForm(request.POST or None, kind=kind)
    if request.method == "POST" and form.is_valid():
        try:
            made = add_target(team=team, by=request.user, new=form.target())
        except (Invalid, Conflict, Forbidden) as error:
            form.show_errors(error)
        else:
            return _made(request, made)
    return render(
        request,
        "workspace/target_new.html",
        {"form": form, "kind": kind, "kinds": _kinds_for(request.user)},
        status=422 if form.is_bound else 200,
    )


def _kinds_for(user: User) -> list[tuple[str, str]]:
    """Return name and title of the kinds of target that a user may add."""
    return [
        (name, title)
        for name, title in kind_titles().items()
        if user.is_superuser or not KINDS[name].is_this_machine
    ]


@require_POST
def add_local_engine(request: SignedInRequest, slug: str) -> HttpResponse:
    """Create a target for the engine at this machine's usual socket."""
    team = team_for(request.user, slug, Role.ADMIN)
    taken = set(targets_for(team).values_list("name", flat=True))
    name = next(n for n in ("docker", *(f"docker-{i}" for i in range(2, 99))) if n not in taken)
    new = NewTarget(name=name, kind="docker", address=settings.DOCKER_HOST)
    made = add_target(team=team, by=request.user, new=new)
    return _made(request, made)


def _made(request: SignedInRequest, made: ComputeTarget) -> HttpResponse:
    """Test a new target at once, so that its admin sees what works."""
    pool_problem(made)
    messages.success(request, f"Created {made.name}.")
    try:
        request_connection_test(made, by=request.user)
    except DomainError as error:
        messages.warning(request, error.message)
    return redirect("workspace:target_test", made.team.slug, made.name)


@require_http_methods(["GET", "HEAD", "POST"])
def target_settings(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Change what a target allows and how it is reached."""
    found = _own(request, slug, name)
    form = TargetForm(
        request.POST or None,
        kind=found.kind,
        initial=TargetForm.initial_of(found),
    )
    if request.method == "POST" and form.is_valid():
        try:
            update_target(
                target=found,
                by=request.user,
                settings=form.settings(),
                leave_behind="leave_behind" in request.POST,
            )
        except (Invalid, Conflict, Forbidden) as error:
            found.refresh_from_db()
            form.show_errors(error)
        else:
            pool_problem(found)
            messages.success(request, f"Saved {found.name}.")
            return redirect("workspace:target_settings", slug, name)
    return _page(request, found, "settings", {"form": form}, is_refused=form.is_bound)


@require_http_methods(["GET", "HEAD", "POST"])
def target_access(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Show which teams may use a target, and how much of it."""
    found = _own(request, slug, name)
    form = GrantForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        to = form.cleaned_data["team"]
        try:
            share = offer_target(target=found, by=request.user, to=to, limits=form.limits())
        except (Invalid, Conflict, Forbidden) as error:
            form.show_errors(error)
        else:
            messages.success(request, _told(share, to))
            return redirect("workspace:target_access", slug, name)
    context = {
        "form": form,
        "grants": found.grants.select_related("team").order_by("team__name"),
        "offers": found.offers.order_by("to"),
    }
    return _page(request, found, "access", context, is_refused=form.is_bound)


def _told(share: TargetGrant | TargetOffer, to: str) -> str:
    if isinstance(share, TargetGrant):
        return f"{to} may use {share.target.name} within these limits."
    return f"Offered {share.target.name} to {to}. An admin of that team has to accept it."


@require_POST
def revoke(request: SignedInRequest, slug: str, name: str, to: str) -> HttpResponse:
    found = _own(request, slug, name)
    withdraw_share(target=found, by=request.user, to=to)
    messages.success(request, f"Removed {to}'s access to {name}.")
    return redirect("workspace:target_access", slug, name)


@require_POST
def offer_accept(request: SignedInRequest, slug: str, owner: str, name: str) -> HttpResponse:
    team = team_for(request.user, slug, Role.ADMIN)
    accept_offer(offer=offer_for(team, owner, name), by=request.user, team=team)
    messages.success(request, f"{team.name} now uses {name} of {owner}.")
    return redirect("workspace:targets", slug)


@require_POST
def offer_decline(request: SignedInRequest, slug: str, owner: str, name: str) -> HttpResponse:
    """Decline an offer, or give back what was accepted."""
    team = team_for(request.user, slug, Role.ADMIN)
    decline_share(team=team, by=request.user, owner=owner, name=name)
    messages.success(request, f"{team.name} does not use {name} of {owner}.")
    return redirect("workspace:targets", slug)


@require_http_methods(["GET", "HEAD", "POST"])
def target_test(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Show the latest connection test of a target, or start another."""
    found = _own(request, slug, name)
    if request.method == "POST":
        request_connection_test(found, by=request.user)
        return redirect("workspace:target_test", slug, name)
    return _page(request, found, "test", {"connection_test": latest_connection_test(found)})


@require_safe
def connection_test_steps(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    found = _own(request, slug, name)
    context = {"connection_test": latest_connection_test(found), "target": found}
    return render(request, "workspace/_connection_test.html", context)


@require_POST
def target_set(request: SignedInRequest, slug: str, name: str, state: str) -> HttpResponse:
    """Open, pause or drain a target."""
    found = _own(request, slug, name)
    if state not in STATES:
        raise NotFound(f"A target can be {', '.join(STATES)}.")
    changes, done = STATES[state]
    update_target(target=found, by=request.user, settings=changes)
    messages.success(request, f"{name} is {done}.")
    return redirect("runs:target", slug, name)


@require_POST
def target_delete(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    target = _own(request, slug, name)
    delete_target(target=target, by=request.user, leave_behind="leave_behind" in request.POST)
    messages.success(request, f"Deleted {name}.")
    return redirect("workspace:targets", slug)


def _own(request: SignedInRequest, slug: str, name: str) -> ComputeTarget:
    return own_target(team_for(request.user, slug, Role.ADMIN), name)


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
    """Return the context of the head of every page of a target."""
    return {
        "state": target_status(target),
        "target": target,
        "tab": tab,
        "is_own": target.team == team,
        "left_behind": [] if is_in_use(target) else left_behind(target),
        "sharers": targets_sharing_nodes_with(target),
    }
