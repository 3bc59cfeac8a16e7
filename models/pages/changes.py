"""What the pages of the registry do: changing, naming, converting and deleting versions."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from models import changes, selectors
from models.imports.onnx_conversion import request_onnx_conversion
from models.models import ModelVersion
from models.pages.forms import AliasForm, ChangeForm
from models.pages.registry import version_context
from models.registration import VersionChange
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.errors import Conflict, Invalid
from workspace.platform.forms import add_domain_errors
from workspace.platform.requests import SignedInRequest
from workspace.platform.validation import validate


@require_POST
def change(request: SignedInRequest, slug: str, name: str, number: int) -> HttpResponse:
    found = _version(request, slug, name, number)
    form = ChangeForm(request.POST)
    if form.is_valid():
        try:
            changed = validate(VersionChange, form.data_for_change(found))
            changes.change_version(version=found, by=request.user, change=changed)
        except Invalid as error:
            add_domain_errors(form, error)
        else:
            messages.success(request, f"Saved {found}.")
            return redirect("models:version", slug, name, number)
    return render(
        request, "models/version.html", version_context(found, change_form=form), status=422
    )


@require_POST
def add_alias(request: SignedInRequest, slug: str, name: str, number: int) -> HttpResponse:
    found = _version(request, slug, name, number)
    form = AliasForm(request.POST)
    if form.is_valid():
        try:
            alias = form.cleaned_data["alias"]
            changes.set_alias(version=found, by=request.user, name=alias)
        except Invalid as error:
            add_domain_errors(form, error)
        else:
            messages.success(request, f"{name}@{alias} is now version {number}.")
            return redirect("models:version", slug, name, number)
    return render(
        request, "models/version.html", version_context(found, alias_form=form), status=422
    )


@require_POST
def remove_alias(request: SignedInRequest, slug: str, name: str, alias: str) -> HttpResponse:
    found = selectors.alias_of(team_for(request.user, slug, Role.MEMBER), name, alias)
    number = found.version.version
    changes.remove_alias(alias=found, by=request.user)
    messages.success(request, f"Removed {name}@{alias}.")
    return redirect("models:version", slug, name, number)


@require_POST
def convert(request: SignedInRequest, slug: str, name: str, number: int) -> HttpResponse:
    found = _version(request, slug, name, number)
    try:
        request_onnx_conversion(version=found, by=request.user)
    except Conflict as error:
        messages.error(request, error.message)
    return redirect("models:version", slug, name, number)


@require_POST
def delete_version(request: SignedInRequest, slug: str, name: str, number: int) -> HttpResponse:
    found = _version(request, slug, name, number)
    try:
        changes.delete_version(version=found, by=request.user)
    except Conflict as error:
        messages.error(request, error.message)
        return redirect("models:version", slug, name, number)
    messages.success(request, f"Deleted {found}.")
    if selectors.versions_of(found.model).exists():
        return redirect("models:model", slug, name)
    return redirect("models:list", slug)


@require_POST
def delete_model(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    found = selectors.model_of(team_for(request.user, slug, Role.MEMBER), name)
    try:
        changes.delete_model(model=found, by=request.user)
    except Conflict as error:
        messages.error(request, error.message)
        return redirect("models:model", slug, name)
    messages.success(request, f"Deleted {name} and all its versions.")
    return redirect("models:list", slug)


def _version(request: SignedInRequest, slug: str, name: str, number: int) -> ModelVersion:
    return selectors.version_of(team_for(request.user, slug, Role.MEMBER), name, number)
