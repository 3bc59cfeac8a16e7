"""Pages of a team's compute targets and environments."""

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from workspace import environments
from workspace.errors import Conflict, DomainError, Invalid, NotFound
from workspace.forms import NewTargetForm, TargetForm, add_errors
from workspace.models import Environment, EnvironmentState, Role, TargetKind, Team
from workspace.requests import SignedInRequest
from workspace.selectors import environments_of, own_target, target_for, targets_for, team_for
from workspace.services import audit
from workspace.streaming import pieces_of, streamed
from workspace.target_states import target_state
from workspace.targets import add_target, delete_target, update_target


@require_safe
def targets(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    return render(
        request,
        "workspace/targets.html",
        {"targets": [target_state(target) for target in targets_for(team)]},
    )


@require_http_methods(["GET", "HEAD", "POST"])
def target_new(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, Role.ADMIN)
    form = NewTargetForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        fields = {**form.cleaned_data, "kind": TargetKind(form.cleaned_data["kind"])}
        try:
            target = add_target(team=team, by=request.user, **fields)
        except (Invalid, Conflict) as error:
            add_errors(form, error)
        else:
            messages.success(request, f"The compute target {target.name} is made.")
            return redirect("workspace:targets", slug)
    return render(
        request,
        "workspace/target_new.html",
        {"form": form},
        status=422 if form.is_bound else 200,
    )


@require_http_methods(["GET", "HEAD", "POST"])
def target(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Show a target; its admins change what it allows."""
    if request.method == "POST":
        found = own_target(team_for(request.user, slug, Role.ADMIN), name)
    else:
        found = target_for(team_for(request.user, slug), name)
    form = TargetForm(
        request.POST or None,
        initial={"max_processes": found.max_processes, "allow_shared": found.allow_shared},
    )
    if request.method == "POST" and form.is_valid():
        try:
            update_target(target=found, by=request.user, **form.cleaned_data)
        except Invalid as invalid:
            add_errors(form, invalid)
        else:
            messages.success(request, f"{found.name} is saved.")
            return redirect("workspace:target", slug, name)
    return render(
        request,
        "workspace/target.html",
        {"state": target_state(found), "form": form},
        status=422 if form.is_bound else 200,
    )


@require_POST
def target_pause(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    return _set_paused(request, slug, name, is_paused=True)


@require_POST
def target_resume(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    return _set_paused(request, slug, name, is_paused=False)


def _set_paused(request: SignedInRequest, slug: str, name: str, *, is_paused: bool) -> HttpResponse:
    found = own_target(team_for(request.user, slug, Role.ADMIN), name)
    update_target(target=found, by=request.user, is_paused=is_paused)
    done = "paused: nothing new starts on it" if is_paused else "in use again"
    messages.success(request, f"{name} is {done}.")
    return redirect("workspace:target", slug, name)


@require_POST
def target_delete(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    found = own_target(team_for(request.user, slug, Role.ADMIN), name)
    delete_target(target=found, by=request.user)
    messages.success(request, f"The compute target {name} is deleted.")
    return redirect("workspace:targets", slug)


@require_safe
def environment_list(request: SignedInRequest, slug: str) -> HttpResponse:
    found = environments_of(team_for(request.user, slug))
    context = {
        "environments": found,
        "total_bytes": sum(environment.size_bytes for environment in found),
        "unused": sum(1 for environment in found if _is_removable(environment)),
    }
    return render(request, "workspace/environments.html", context)


@require_safe
def environment(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    found = _environment(team_for(request.user, slug), pk)
    spec = environments.EnvironmentSpec.from_json(found.spec)
    context = {
        "environment": found,
        "spec": spec,
        "has_log": environments.log_path(found).exists(),
        "is_removable": _is_removable(found),
        "packages": sorted(found.packages.items()),
    }
    return render(request, "workspace/environment.html", context)


@require_safe
def environment_log(request: SignedInRequest, slug: str, pk: int) -> HttpResponseBase:
    """Give the whole log of a build as plain text."""
    found = _environment(team_for(request.user, slug), pk)
    try:
        log = environments.log_path(found).open("rb")
    except FileNotFoundError as error:
        raise NotFound("This environment has no build log yet.") from error
    return streamed(request, pieces_of(log), "text/plain; charset=utf-8")


@require_POST
def environment_retry(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    found = _environment(team_for(request.user, slug, Role.MEMBER), pk)
    environments.retry(found)
    messages.success(request, "The environment is being built again.")
    return redirect("workspace:environment", slug, pk)


@require_POST
def environment_remove(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    team = team_for(request.user, slug, Role.ADMIN)
    _remove(request, team, _environment(team, pk))
    messages.success(request, "The environment is removed.")
    return redirect("workspace:environments", slug)


@require_POST
def environments_remove_unused(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, Role.ADMIN)
    removed = 0
    for found in environments_of(team):
        if not _is_removable(found):
            continue
        try:
            _remove(request, team, found)
        except DomainError as error:
            messages.warning(request, error.message)
        else:
            removed += 1
    messages.success(request, f"Environments removed: {removed}.")
    return redirect("workspace:environments", slug)


def _remove(request: SignedInRequest, team: Team, found: Environment) -> None:
    digest = found.digest[:12]
    environments.remove(found)
    audit(team=team, actor=request.user, action="environment.remove", subject=digest)


def _is_removable(found: Environment) -> bool:
    uses: int = found.uses  # type: ignore[attr-defined]
    return not uses and found.state in {EnvironmentState.READY, EnvironmentState.FAILED}


def _environment(team: Team, pk: int) -> Environment:
    found = environments_of(team).filter(pk=pk).first()
    if found is None:
        raise NotFound(f"{team.name} uses no such environment.")
    return found
