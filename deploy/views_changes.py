"""What people do to services on their pages."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from deploy import selectors, services
from deploy.configuration import default_resources, read_deployment
from deploy.forms import NewServiceForm, add_resource_errors
from deploy.models import KeySlot, Service
from deploy.new_keys import hand_over
from deploy.services import Deployment
from models.selectors import version_named, versions_of_team
from workspace.errors import DomainError, Invalid, NotFound
from workspace.models import ComputeTarget, Role, Team
from workspace.requests import SignedInRequest
from workspace.selectors import target_for, targets_for, team_for

DEFAULT_TARGET = "local"


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
            add_resource_errors(form, error)
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
    service = _service(request, slug, name)
    version = version_named(service.team, request.POST.get("model", ""))
    try:
        services.update(service=service, by=request.user, version=version)
    except Invalid as error:
        messages.error(request, error.message)
        return redirect("models:version", slug, version.model.name, version.version)
    messages.success(request, f"{service} switches to {version} as soon as that is ready.")
    return redirect("deploy:service", slug, name)


@require_POST
def regenerate(request: SignedInRequest, slug: str, name: str, slot: str) -> HttpResponse:
    service = _service(request, slug, name)
    if slot not in KeySlot.values:
        raise NotFound(f"A service has the keys {' and '.join(KeySlot.values)}.")
    key = services.regenerate_key(service=service, by=request.user, slot=KeySlot(slot))
    response = redirect("deploy:service", slug, name)
    hand_over(request, response, service, {slot: key})
    return response


@require_POST
def start(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    services.start(service=_service(request, slug, name), by=request.user)
    messages.success(request, f"{name} is being started.")
    return redirect("deploy:service", slug, name)


@require_POST
def stop(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    services.stop(service=_service(request, slug, name), by=request.user)
    messages.success(request, f"{name} is being stopped; its keys and revisions stay.")
    return redirect("deploy:service", slug, name)


@require_POST
def delete(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    services.delete(service=_service(request, slug, name), by=request.user)
    messages.success(request, f"{name} is deleted.")
    return redirect("deploy:list", slug)


def _service(request: SignedInRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.user, slug, Role.MEMBER), name)


def _default_target(team: Team) -> ComputeTarget:
    """Give the target called local, or else the team's first."""
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
    cleaned = form.cleaned_data
    wish = read_deployment(
        {
            "name": cleaned["name"],
            "model": cleaned["model"],
            "resources": form.resources_as_sent(),
            "replicas": cleaned["replicas"],
        }
    )
    return services.deploy(
        team=team,
        by=request.user,
        name=wish.name,
        version=version_named(team, cleaned["model"]),
        target=target_for(team, cleaned["target"].name),
        resources=wish.resources,
        replicas=cleaned["replicas"],
    )


def _with_keys(request: SignedInRequest, made: Deployment) -> HttpResponse:
    """Go to the service's page, which shows the keys this once."""
    service = made.service
    response = redirect("deploy:service", service.team.slug, service.name)
    hand_over(request, response, service, {slot.value: key for slot, key in made.keys.items()})
    return response
