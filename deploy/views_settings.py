"""The settings of a service: what it runs, and the parts that say how."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from deploy import door, selectors, steering
from deploy.configuration import read_change
from deploy.forms import SettingsForm, add_resource_errors
from deploy.forms_settings import PARTS, Part, parts_of
from deploy.models import KeySlot, Service
from deploy.views import tab
from models.selectors import version_named, versions_of_team
from workspace.errors import DomainError, NotFound
from workspace.models import Role
from workspace.requests import SignedInRequest
from workspace.selectors import team_for


@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Change which version a service serves, its replicas and resources."""
    service = _service(request, slug, name)
    form = _form(request, service)
    if request.method == "POST" and form.is_valid():
        try:
            wish = read_change(form.body())
            version = version_named(service.team, form.cleaned_data["model"])
            steering.change(service=service, by=request.user, wish=wish, version=version)
        except DomainError as error:
            add_resource_errors(form, error)
        else:
            messages.success(request, f"{service} is being changed.")
            return redirect("deploy:service", slug, name)
    return _page(request, service, form, status=422 if form.is_bound else 200)


@require_POST
def change_part(request: SignedInRequest, slug: str, name: str, part: str) -> HttpResponse:
    """Change one of the other parts."""
    service = _service(request, slug, name)
    kind = next((kind for kind in PARTS if kind.name == part), None)
    if kind is None:
        raise NotFound(f"The settings have no part {part!r}.")
    form = kind(request.POST, service=service)
    if form.is_valid():
        try:
            _apply(request, service, form)
        except DomainError as error:
            form.show(error)
        else:
            messages.success(request, f"{kind.title}: saved.")
            return redirect("deploy:settings", slug, name)
    return _page(request, service, _form(None, service), bound=form, status=422)


@require_POST
def limit_key(request: SignedInRequest, slug: str, name: str, slot: str) -> HttpResponse:
    """Set how many calls a minute a key may make; an empty field lifts the limit."""
    service = _service(request, slug, name)
    if slot not in KeySlot.values:
        raise NotFound(f"A service has the keys {' and '.join(KeySlot.values)}.")
    text = request.POST.get("calls_per_minute", "").strip()
    wanted: object = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
    try:
        limit = door.read_key_limit({"calls_per_minute": wanted if text else None})
        door.limit_key(service=service, by=request.user, slot=KeySlot(slot), calls_per_minute=limit)
    except DomainError as error:
        messages.error(request, error.errors[0].message if error.errors else error.message)
    else:
        words = f"{limit:,} calls a minute" if limit else "as many calls as it likes"
        messages.success(request, f"The {slot} key may make {words}.")
    return redirect("deploy:service", slug, name)


def _apply(request: SignedInRequest, service: Service, form: Part) -> None:
    if form.of_door:
        change = door.read_door_change(form.body())
        door.change_door(service=service, by=request.user, change=change)
    else:
        wish = read_change(form.body())
        steering.change(service=service, by=request.user, wish=wish, version=None)


def _form(request: SignedInRequest | None, service: Service) -> SettingsForm:
    return SettingsForm(
        request.POST or None if request else None,
        versions=list(versions_of_team(service.team)),
        initial=SettingsForm.initial_of(selectors.current_revision(service)),
        is_scaled=bool(service.autoscale),
    )


def _page(
    request: SignedInRequest,
    service: Service,
    form: SettingsForm,
    *,
    bound: Part | None = None,
    status: int,
) -> HttpResponse:
    context = {"form": form, "parts": parts_of(service, bound)}
    return tab(request, service, "settings", context, status=status)


def _service(request: SignedInRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.user, slug, Role.MEMBER), name)
