"""The settings of a service: what it runs, and the sections that say how."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from deploy import access_policy, selectors
from deploy.access_policy import AccessChange, KeyLimit
from deploy.config import ServiceChange
from deploy.models import KeySlot, Service
from deploy.pages.forms import SettingsForm, add_field_errors
from deploy.pages.lookup import editable_service
from deploy.pages.service import render_tab
from deploy.pages.settings_forms import SETTINGS_SECTIONS, SettingsSection, settings_sections
from deploy.rollout import traffic_policy
from models.selectors import version_named, versions_of_team
from workspace.platform.errors import DomainError, NotFound
from workspace.platform.requests import SignedInRequest, is_whole_number
from workspace.platform.validation import validate


@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Change which version a service serves, its replicas and resources."""
    service = editable_service(request, slug, name)
    form = _form(request, service)
    if request.method == "POST" and form.is_valid():
        try:
            change = validate(ServiceChange, form.body())
            version = version_named(service.team, form.cleaned_data["model"])
            traffic_policy.apply_change(
                service=service, by=request.user, change=change, version=version
            )
        except DomainError as error:
            add_field_errors(form, error)
        else:
            messages.success(request, f"Saved the deployment of {service}.")
            return redirect("deploy:service", slug, name)
    return _page(request, service, form, status=422 if form.is_bound else 200)


@require_POST
def change_section(request: SignedInRequest, slug: str, name: str, part: str) -> HttpResponse:
    """Change one of the other sections."""
    service = editable_service(request, slug, name)
    kind = next((kind for kind in SETTINGS_SECTIONS if kind.name == part), None)
    if kind is None:
        raise NotFound(f"The settings have no section {part!r}.")
    form = kind(request.POST, service=service)
    if form.is_valid():
        try:
            _apply(request, service, form)
        except DomainError as error:
            add_field_errors(form, error)
        else:
            messages.success(request, f"Saved {kind.title}.")
            return redirect("deploy:settings", slug, name)
    return _page(request, service, _form(None, service), bound=form, status=422)


@require_POST
def limit_key(request: SignedInRequest, slug: str, name: str, slot: str) -> HttpResponse:
    """Set how many calls per minute a key may make; an empty field removes the limit."""
    service = editable_service(request, slug, name)
    if slot not in KeySlot.values:
        raise NotFound(f"A service has the keys {' and '.join(KeySlot.values)}.")
    text = request.POST.get("calls_per_minute", "").strip()
    wanted: object = int(text) if is_whole_number(text) else text
    try:
        limit = validate(KeyLimit, {"calls_per_minute": wanted if text else None})
        access_policy.limit_key(
            service=service,
            by=request.user,
            slot=KeySlot(slot),
            calls_per_minute=limit.calls_per_minute,
        )
    except DomainError as error:
        messages.error(request, error.errors[0].message if error.errors else error.message)
    else:
        calls = limit.calls_per_minute
        words = f"{calls:,} calls per minute" if calls else "no limit"
        messages.success(request, f"Limit of the {slot} key: {words}.")
    return redirect("deploy:service", slug, name)


def _apply(request: SignedInRequest, service: Service, form: SettingsSection) -> None:
    if form.changes_access:
        access = validate(AccessChange, form.body())
        access_policy.change_access(service=service, by=request.user, change=access)
    else:
        change = validate(ServiceChange, form.body())
        traffic_policy.apply_change(service=service, by=request.user, change=change, version=None)


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
    bound: SettingsSection | None = None,
    status: int,
) -> HttpResponse:
    context = {"form": form, "parts": settings_sections(service, bound)}
    return render_tab(request, service, "settings", context, status=status)
