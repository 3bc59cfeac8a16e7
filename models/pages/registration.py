"""The pages that bring models in: registering, and imports that are being converted."""

import json
from typing import Any, BinaryIO

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from models import selectors, services
from models.imports.execution import job_log
from models.imports.keras_files import import_of, start_import, start_import_from_run
from models.models import ModelImport, ModelVersion
from models.pages.forms import RegisterForm, field_of
from models.registration import Registration
from models.savedmodel.folders import is_keras_file
from runs.models import Run
from runs.selectors import run_of
from workspace.accounts.selectors import team_for
from workspace.models import Role, Team
from workspace.platform.errors import DomainError, FieldError, Invalid, NotFound
from workspace.platform.forms import add_domain_errors
from workspace.platform.requests import SignedInRequest, is_whole_number
from workspace.platform.validation import validate


@require_http_methods(["GET", "HEAD", "POST"])
def register(request: SignedInRequest, slug: str) -> HttpResponse:
    """Offer the SavedModels of a run, or take an archive."""
    team = team_for(request.user, slug, Role.MEMBER)
    run = _run_named(request, team)
    offers = selectors.registrable_models_in(run) if run else []
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
            if isinstance(made, ModelImport):
                return redirect("models:import", slug, made.number)
            messages.success(request, f"Registered {made}.")
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


@require_safe
def model_import(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Show an import, how it is coming along, and what it says."""
    found = import_of(team_for(request.user, slug), number)
    template = "models/_import.html" if request.headers.get("HX-Request") else "models/import.html"
    return render(request, template, {"import": found, "log": job_log(found)})


def _run_named(request: SignedInRequest, team: Team) -> Run | None:
    number = request.GET.get("run", "")
    if not number:
        return None
    if not is_whole_number(number):
        raise NotFound("There is no such run.")
    return run_of(team, int(number))


def _initial(request: SignedInRequest, offers: list[selectors.ModelCandidate]) -> dict[str, Any]:
    asked = request.GET.get("path", "")
    chosen = next((offer for offer in offers if offer.path == asked), None)
    if chosen is None and offers:
        chosen = offers[-1]
    return {"path": chosen.path, "name": chosen.name} if chosen else {}


def _register(
    request: SignedInRequest, team: Team, run: Run | None, form: RegisterForm
) -> ModelVersion | ModelImport:
    registration = validate(Registration, form.data_for_registration())
    path = form.cleaned_data["path"]
    allows_code = bool(form.cleaned_data["allow_code"])
    if run is not None:
        if is_keras_file(path):
            return start_import_from_run(
                run=run,
                by=request.user,
                path=path,
                registration=registration,
                allows_code=allows_code,
            )
        return services.register_from_run(
            by=request.user, run=run, path=path, registration=registration
        )
    archive = form.cleaned_data["archive"]
    if archive is None:
        return services.register_from_uploads(
            team=team, by=request.user, files=_folder(request), registration=registration
        )
    if is_keras_file(archive.name):
        return start_import(
            team=team,
            by=request.user,
            file=archive,
            filename=archive.name,
            registration=registration,
            allows_code=allows_code,
        )
    return services.register_from_archive(
        team=team,
        by=request.user,
        file=archive,
        filename=archive.name,
        path=path,
        registration=registration,
    )


def _folder(request: SignedInRequest) -> dict[str, BinaryIO]:
    """Return the files of a folder that the browser sent, by the paths sent with them.

    Multipart carries names without folders.
    """
    files = request.FILES.getlist("folder")
    if not files:
        raise Invalid.of(FieldError("archive", "Choose a file or a folder."))
    try:
        paths = json.loads(request.POST.get("folder_paths", ""))
    except (ValueError, RecursionError):
        paths = None
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise Invalid.of(
            FieldError("archive", "The folder arrived without its paths: upload it again.")
        )
    if len(paths) != len(files) or len(set(paths)) != len(paths):
        raise Invalid.of(
            FieldError("archive", "Part of the folder did not arrive: upload it again.")
        )
    return dict(zip(paths, files, strict=True))


def _show_errors(form: RegisterForm, error: DomainError) -> None:
    errors = [FieldError(field_of(entry.field), entry.message) for entry in error.errors]
    add_domain_errors(form, Invalid(error.message, errors=errors))
