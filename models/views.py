"""The pages of the registry: models, a model's versions, a version, registering."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from models import selectors, services
from models.comparison import shape_in_words
from models.forms import RegisterForm, field_of
from models.models import ModelVersion
from models.registration import read_registration
from runs.models import Run
from runs.selectors import run_of
from workspace.errors import DomainError, FieldError, Invalid, NotFound
from workspace.forms import add_errors
from workspace.models import Role, Team
from workspace.requests import SignedInRequest
from workspace.selectors import team_for


@require_safe
def model_list(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    return render(request, "models/model_list.html", {"models": selectors.models_of(team)})


@require_safe
def model(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    found = selectors.model_of(team_for(request.user, slug), name)
    return render(
        request,
        "models/model.html",
        {"model": found, "versions": selectors.versions_of(found)},
    )


@require_safe
def version(request: SignedInRequest, slug: str, name: str, number: int) -> HttpResponse:
    found = selectors.version_of(team_for(request.user, slug), name, number)
    return render(
        request,
        "models/version.html",
        {
            "version": found,
            "model": found.model,
            "files": selectors.manifest_of(found).entries,
            "signatures": signatures_of(found),
            "download": f"/api/v1/teams/{slug}/models/{name}/versions/{number}/download",
        },
    )


@require_http_methods(["GET", "HEAD", "POST"])
def register(request: SignedInRequest, slug: str) -> HttpResponse:
    """Offer the SavedModels of a run, or take an archive."""
    team = team_for(request.user, slug, Role.MEMBER)
    run = _run_named(request, team)
    offers = selectors.saved_models_in(run) if run else []
    form = RegisterForm(
        request.POST or None,
        request.FILES or None,
        run=run,
        offers=offers,
        initial=_initial(request, offers),
    )
    if request.method == "POST" and form.is_valid():
        try:
            made = _register(request, team, run, form)
        except DomainError as error:
            _show_errors(form, error)
        else:
            messages.success(request, f"{made} is registered.")
            return redirect("models:version", slug, made.model.name, made.version)
    return render(
        request,
        "models/register.html",
        {
            "form": form,
            "run": run,
            "offers": offers,
            "known": selectors.models_of(team).values_list("name", flat=True),
        },
        status=422 if form.is_bound else 200,
    )


def signatures_of(version: ModelVersion) -> list[dict[str, Any]]:
    """Give a version's signatures as tables, the default one first."""
    names = sorted(version.signatures, key=lambda name: (name != "serving_default", name))
    return [
        {
            "name": name,
            "method": version.signatures[name]["method"],
            "rows": [
                (side[:-1], tensor, found["dtype"], shape_in_words(found["shape"]))
                for side in ("inputs", "outputs")
                for tensor, found in version.signatures[name][side].items()
            ],
        }
        for name in names
    ]


def _run_named(request: SignedInRequest, team: Team) -> Run | None:
    number = request.GET.get("run", "")
    if not number:
        return None
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise NotFound("There is no such run.")
    return run_of(team, int(number))


def _initial(request: SignedInRequest, offers: list[selectors.Offer]) -> dict[str, Any]:
    asked = request.GET.get("path", "")
    chosen = next((offer for offer in offers if offer.path == asked), None)
    if chosen is None and offers:
        chosen = offers[-1]
    return {"path": chosen.path, "name": chosen.name} if chosen else {}


def _register(
    request: SignedInRequest, team: Team, run: Run | None, form: RegisterForm
) -> ModelVersion:
    registration = read_registration(form.data_for_registration())
    path = form.cleaned_data["path"]
    if run is not None:
        return services.register_from_run(
            by=request.user, run=run, path=path, registration=registration
        )
    archive = form.cleaned_data["archive"]
    return services.register_from_archive(
        team=team,
        by=request.user,
        file=archive,
        filename=archive.name,
        path=path,
        registration=registration,
    )


def _show_errors(form: RegisterForm, error: DomainError) -> None:
    errors = [FieldError(field_of(entry.field), entry.message) for entry in error.errors]
    add_errors(form, Invalid(error.message, errors=errors))
