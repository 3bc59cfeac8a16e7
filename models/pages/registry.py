"""The pages of the registry that show: models, a model's versions, a version, two side by side."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from models import selectors
from models.changes import services_using
from models.comparison import compare, format_dtype, format_shape
from models.imports.execution import job_log
from models.imports.keras_files import unfinished_imports_of
from models.models import ModelVersion, OnnxConversion, Stage
from models.pages.forms import AliasForm, ChangeForm
from models.search import paginate, search_models
from workspace.accounts.selectors import team_for
from workspace.compute.environment_spec import CURATED
from workspace.platform.errors import Invalid
from workspace.platform.requests import SignedInRequest

FILTERS = ("q", "tag", "framework", "stage")


@require_safe
def model_list(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    chosen = {name: request.GET.get(name, "").strip() for name in FILTERS}
    error = ""
    try:
        page = paginate(search_models(team, **chosen), request.GET.get("page", "1"))
    except Invalid as refused:
        page, error = paginate(search_models(team), "1"), refused.message
    return render(
        request,
        "models/model_list.html",
        {
            "models": page.models,
            "chosen": chosen,
            "is_searched": any(chosen.values()),
            "error": error,
            "stages": Stage.values,
            "frameworks": list(CURATED),
            "newer": _page(request, page.number - 1) if page.number > 1 else "",
            "older": _page(request, page.number + 1) if page.has_next else "",
            "imports": unfinished_imports_of(team),
        },
    )


def _page(request: HttpRequest, number: int) -> str:
    query = request.GET.copy()
    query["page"] = str(number)
    return f"?{query.urlencode()}"


@require_safe
def model(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    found = selectors.model_of(team_for(request.user, slug), name)
    versions = list(selectors.versions_of(found))
    return render(request, "models/model.html", {"model": found, "versions": versions})


@require_safe
def version(request: SignedInRequest, slug: str, name: str, number: int) -> HttpResponse:
    found = selectors.version_of(team_for(request.user, slug), name, number)
    return render(request, "models/version.html", version_context(found))


def version_context(found: ModelVersion, **forms: Any) -> dict[str, Any]:
    """Return what the page of a version shows."""
    model = found.model
    address = f"/api/v1/teams/{model.team.slug}/models/{model.name}/versions/{found.version}"
    return {
        "version": found,
        "model": model,
        "files": selectors.manifest_of(found).entries,
        "signatures": signatures_of(found),
        "findings": selectors.scan_of(found),
        "services_using": services_using(found),
        "others": selectors.versions_of(model).exclude(pk=found.pk),
        "download": f"{address}/download",
        "change_form": ChangeForm(initial=ChangeForm.initial_of(found)),
        "alias_form": AliasForm(),
        **onnx_context(found),
        **forms,
    }


@require_safe
def onnx(request: SignedInRequest, slug: str, name: str, number: int) -> HttpResponse:
    """Show how a conversion is coming along."""
    found = selectors.version_of(team_for(request.user, slug), name, number)
    context = {"version": found, "model": found.model, **onnx_context(found)}
    return render(request, "models/_onnx.html", context)


def onnx_context(found: ModelVersion) -> dict[str, Any]:
    conversion = OnnxConversion.objects.filter(version=found).first()
    model = found.model
    return {
        "onnx": conversion,
        "onnx_log": job_log(conversion) if conversion else "",
        "onnx_download": f"/api/v1/teams/{model.team.slug}/models/{model.name}/versions/"
        f"{found.version}/onnx/download",
    }


@require_safe
def comparison(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    team = team_for(request.user, slug)
    model = selectors.model_of(team, name)
    a, b = (selectors.version_of(team, name, request.GET.get(side, "")) for side in ("a", "b"))
    lines = compare(a, b)
    return render(
        request,
        "models/comparison.html",
        {
            "model": model,
            "a": a,
            "b": b,
            "versions": selectors.versions_of(model),
            "parts": [(subject, found) for subject, found in lines.items() if found],
        },
    )


def signatures_of(version: ModelVersion) -> list[dict[str, Any]]:
    """Return a version's signatures as tables, the default one first."""
    names = sorted(version.signatures, key=lambda name: (name != "serving_default", name))
    return [
        {
            "name": name,
            "method": version.signatures[name]["method"],
            "rows": [
                (side[:-1], tensor, format_dtype(found), format_shape(found["shape"]))
                for side in ("inputs", "outputs")
                for tensor, found in version.signatures[name][side].items()
            ],
        }
        for name in names
    ]
