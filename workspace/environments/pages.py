"""Pages of the environments that a team's runs and services use."""

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from workspace.accounts.selectors import team_for
from workspace.audit import audit
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.environments import services
from workspace.environments.curated import curated_environments, in_display_order
from workspace.environments.selectors import environments_of
from workspace.models import Environment, EnvironmentState, Role, Team
from workspace.platform.errors import DomainError, NotFound
from workspace.platform.requests import SignedInRequest
from workspace.platform.streaming import file_chunks, streaming_response


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
    spec = EnvironmentSpec.from_json(found.spec)
    context = {
        "environment": found,
        "spec": spec,
        "asked_for": spec.packages if spec.image else spec.requirements,
        "has_log": services.log_path(found).exists(),
        "is_removable": _is_removable(found),
        "versions": in_display_order(found.versions),
        "packages": sorted(found.packages.items()),
    }
    return render(request, "workspace/environment.html", context)


@require_safe
def environment_log(request: SignedInRequest, slug: str, pk: int) -> HttpResponseBase:
    """Return the whole log of a build as plain text."""
    found = _environment(team_for(request.user, slug), pk)
    try:
        log = services.log_path(found).open("rb")
    except FileNotFoundError as error:
        raise NotFound("This environment has no build log yet.") from error
    return streaming_response(request, file_chunks(log), "text/plain; charset=utf-8")


@require_POST
def environment_retry(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    found = _environment(team_for(request.user, slug, Role.MEMBER), pk)
    services.retry_build(found)
    messages.success(request, "Rebuilding the environment.")
    return redirect("workspace:environment", slug, pk)


@require_POST
def environment_remove(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    team = team_for(request.user, slug, Role.ADMIN)
    _remove(request, team, _environment(team, pk))
    messages.success(request, "Removed the environment.")
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
    messages.success(request, f"Removed {removed} environments.")
    return redirect("workspace:environments", slug)


def _remove(request: SignedInRequest, team: Team, found: Environment) -> None:
    digest = found.digest[:12]
    services.remove_environment(found)
    audit(team=team, actor=request.user, action="environment.remove_environment", subject=digest)


def _is_removable(found: Environment) -> bool:
    uses: int = found.uses  # type: ignore[attr-defined]
    return not uses and found.state != EnvironmentState.BUILDING


def _environment(team: Team, pk: int) -> Environment:
    found = environments_of(team).filter(pk=pk).first()
    if found is None:
        raise NotFound(f"{team.name} uses no such environment.")
    return found
