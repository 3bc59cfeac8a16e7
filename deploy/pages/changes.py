"""What people do to services on their pages."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from deploy import selectors, services
from deploy.config import DEFAULT_TARGET, NewService, default_resources
from deploy.models import KeySlot
from deploy.pages.forms import NewServiceForm, add_field_errors
from deploy.pages.lookup import editable_service
from deploy.pages.new_keys import set_new_keys_cookie
from deploy.rollout import traffic_policy
from deploy.services import Deployment
from models.selectors import version_named, versions_of_team
from workspace.accounts.selectors import team_for
from workspace.models import ComputeTarget, Role, Team
from workspace.platform.errors import DomainError, Invalid, NotFound
from workspace.platform.requests import SignedInRequest
from workspace.platform.validation import validate
from workspace.targets.selectors import target_for, targets_for


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """Deploy a model version with options."""
    team = team_for(request.user, slug, Role.MEMBER)
    versions = list(versions_of_team(team))
    form = NewServiceForm(
        request.POST or None,
        versions=versions,
        targets=targets_for(team),
        initial=_initial(request, team),
    )
    if request.method == "POST" and form.is_valid():
        try:
            made = _deploy(request, team, form)
        except DomainError as error:
            add_field_errors(form, error)
        else:
            return _with_keys(request, made)
    return render(
        request,
        "deploy/service_new.html",
        {"form": form, "has_versions": bool(versions)},
        status=422 if form.is_bound else 200,
    )


@require_POST
def quick(request: SignedInRequest, slug: str) -> HttpResponse:
    """Deploy a model version as it comes: a free name, the local target, sensible resources."""
    team = team_for(request.user, slug, Role.MEMBER)
    version = version_named(team, request.POST.get("model", ""))
    try:
        made = services.deploy(
            team=team,
            by=request.user,
            name=selectors.free_name(team, version.model),
            version=version,
            target=_default_target(team),
        )
    except Invalid as error:
        messages.error(request, error.message)
        return redirect("models:version", slug, version.model.name, version.version)
    return _with_keys(request, made)


@require_POST
def switch(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    service = editable_service(request, slug, name)
    version = version_named(service.team, request.POST.get("model", ""))
    try:
        traffic_policy.update(service=service, by=request.user, version=version)
    except Invalid as error:
        messages.error(request, error.message)
        return redirect("models:version", slug, version.model.name, version.version)
    messages.success(request, f"{service} switches to {version} once it is ready.")
    return redirect("deploy:service", slug, name)


@require_POST
def regenerate(request: SignedInRequest, slug: str, name: str, slot: str) -> HttpResponse:
    service = editable_service(request, slug, name)
    if slot not in KeySlot.values:
        raise NotFound(f"A service has the keys {' and '.join(KeySlot.values)}.")
    key = services.regenerate_key(service=service, by=request.user, slot=KeySlot(slot))
    response = redirect("deploy:service", slug, name)
    set_new_keys_cookie(request, response, service, {slot: key})
    return response


@require_POST
def start(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    services.start(service=editable_service(request, slug, name), by=request.user)
    messages.success(request, f"Starting {name}.")
    return redirect("deploy:service", slug, name)


@require_POST
def stop(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    services.stop(service=editable_service(request, slug, name), by=request.user)
    messages.success(request, f"Stopping {name}. Its keys and revisions are kept.")
    return redirect("deploy:service", slug, name)


@require_POST
def delete(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    services.delete(service=editable_service(request, slug, name), by=request.user)
    messages.success(request, f"Deleted {name}.")
    return redirect("deploy:list", slug)


def _default_target(team: Team) -> ComputeTarget:
    """Return the target called local, or else the team's first."""
    targets = targets_for(team).filter(is_paused=False, is_draining=False).order_by("pk")
    target = targets.filter(name=DEFAULT_TARGET).first() or targets.first()
    if target is None:
        raise Invalid(f"{team.name} has no compute target to deploy to. Ask an admin for one.")
    return target


def _initial(request: SignedInRequest, team: Team) -> dict[str, Any]:
    asked = f"{request.GET.get('model', '')}:{request.GET.get('version', '')}"
    if asked == ":":
        return {}
    version = version_named(team, asked)
    return {
        "name": selectors.free_name(team, version.model),
        "model": str(version),
        **default_resources(version).to_json(),
    }


def _deploy(request: SignedInRequest, team: Team, form: NewServiceForm) -> Deployment:
    new = validate(NewService, form.body())
    return services.deploy(
        team=team,
        by=request.user,
        name=new.name,
        version=version_named(team, new.model),
        target=target_for(team, new.target),
        resources=new.resources,
        replicas=new.replicas,
    )


def _with_keys(request: SignedInRequest, made: Deployment) -> HttpResponse:
    """Go to the service's page, which shows the keys this once."""
    service = made.service
    response = redirect("deploy:service", service.team.slug, service.name)
    set_new_keys_cookie(
        request, response, service, {slot.value: key for slot, key in made.keys.items()}
    )
    return response
