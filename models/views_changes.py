"""What the pages of the registry do: changing, naming, converting and deleting versions."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from models import changes, selectors
from models.forms import AliasForm, ChangeForm
from models.models import ModelVersion
from models.onnx import ask_for_onnx
from models.registration import read_change
from models.views import version_context
from workspace.errors import Conflict, Invalid
from workspace.forms import add_errors
from workspace.models import Role
from workspace.requests import SignedInRequest
from workspace.selectors import team_for


@require_POST
def change(request: SignedInRequest, slug: str, name: str, number: int) -> HttpResponse:
    found = _version(request, slug, name, number)
    form = ChangeForm(request.POST)
    if form.is_valid():
        try:
            read = read_change(form.data_for_change(found))
            changes.change_version(version=found, by=request.user, change=read)
        except Invalid as error:
            add_errors(form, error)
        else:
            messages.success(request, f"{found} is changed.")
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
            add_errors(form, error)
        else:
            messages.success(request, f"{name}@{alias} is version {number} now.")
            return redirect("models:version", slug, name, number)
    return render(
        request, "models/version.html", version_context(found, alias_form=form), status=422
    )


@require_POST
def remove_alias(request: SignedInRequest, slug: str, name: str, alias: str) -> HttpResponse:
    found = selectors.alias_of(team_for(request.user, slug, Role.MEMBER), name, alias)
    number = found.version.version
    changes.remove_alias(alias=found, by=request.user)
    messages.success(request, f"{name}@{alias} is removed.")
    return redirect("models:version", slug, name, number)


@require_POST
def convert(request: SignedInRequest, slug: str, name: str, number: int) -> HttpResponse:
    found = _version(request, slug, name, number)
    try:
        ask_for_onnx(version=found, by=request.user)
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
    messages.success(request, f"{found} is deleted.")
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
    messages.success(request, f"{name} is deleted with all its versions.")
    return redirect("models:list", slug)


def _version(request: SignedInRequest, slug: str, name: str, number: int) -> ModelVersion:
    return selectors.version_of(team_for(request.user, slug, Role.MEMBER), name, number)
