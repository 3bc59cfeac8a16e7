"""Pages of the environments that a team's runs and services use."""

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from workspace import environments
from workspace.curated import curated_environments, in_order
from workspace.errors import DomainError, NotFound
from workspace.models import Environment, EnvironmentState, Role, Team
from workspace.requests import SignedInRequest
from workspace.selectors import environments_of, team_for
from workspace.services import audit
from workspace.streaming import pieces_of, streamed


@require_safe
def environment_list(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    found = environments_of(team)
    context = {
        "environments": found,
        "curated": curated_environments(team),
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
        "asked_for": spec.packages if spec.image else spec.requirements,
        "has_log": environments.log_path(found).exists(),
        "is_removable": _is_removable(found),
        "versions": in_order(found.versions),
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
    return not uses and found.state != EnvironmentState.BUILDING


def _environment(team: Team, pk: int) -> Environment:
    found = environments_of(team).filter(pk=pk).first()
    if found is None:
        raise NotFound(f"{team.name} uses no such environment.")
    return found
