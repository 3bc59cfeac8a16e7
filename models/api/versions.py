"""The REST API of what is registered: finding, comparing, changing and deleting it."""

from typing import Annotated, Any

from django.http.response import HttpResponseBase
from ninja import Router, Status

from models import changes, selectors
from models.api.downloads import download
from models.api.schemas import ComparisonOut, ModelDetail, VersionDetail
from models.comparison import compare
from models.models import ModelVersion, RegisteredModel
from models.registration import AliasTarget, VersionChange
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.errors import FieldError, Invalid, NotFound
from workspace.platform.json_body import JsonBody
from workspace.platform.requests import ApiRequest

router = Router(tags=["models"])
MODEL = "teams/{slug}/models/{name}"
VERSION = f"{MODEL}/versions/{{version}}"


@router.get(MODEL, response=ModelDetail, summary="Get a model with its versions")
def show_model(request: ApiRequest, slug: str, name: str) -> RegisteredModel:
    return selectors.model_of(team_for(request.auth, slug), name)


@router.delete(MODEL, response={204: None}, summary="Delete a model with all its versions")
def delete_model(request: ApiRequest, slug: str, name: str) -> Status[None]:
    """Refused while a service uses one of them."""
    model = selectors.model_of(team_for(request.auth, slug, Role.MEMBER), name)
    changes.delete_model(model=model, by=request.auth)
    return Status(204, None)


@router.get(f"{MODEL}/compare", response=ComparisonOut, summary="Compare two versions")
def compare_versions(request: ApiRequest, slug: str, name: str, a: str, b: str) -> dict[str, Any]:
    """`a` and `b` are numbers, @ALIAS, or stages."""
    team = team_for(request.auth, slug)
    left, right = (selectors.version_of(team, name, which) for which in (a, b))
    lines = compare(left, right)
    told = {subject: [line.to_json() for line in found] for subject, found in lines.items()}
    return {"a": str(left), "b": str(right), **told}


@router.put(
    f"{MODEL}/aliases/{{alias}}",
    response={200: VersionDetail, 201: VersionDetail},
    summary="Set an alias",
)
def set_alias(
    request: ApiRequest,
    slug: str,
    name: str,
    alias: str,
    payload: Annotated[AliasTarget, JsonBody()],
) -> Status[ModelVersion]:
    """Make it the name of a version; `version` may be given by number, stage or @ALIAS."""
    team = team_for(request.auth, slug, Role.MEMBER)
    try:
        version = selectors.version_of(team, name, payload.version)
    except NotFound as error:
        selectors.model_of(team, name)
        raise Invalid.of(FieldError("version", error.message)) from None
    _readable(version)
    is_new = changes.set_alias(version=version, by=request.auth, name=alias)
    shown = selectors.version_of(team, name, version.version)
    return Status(201 if is_new else 200, shown)


@router.delete(f"{MODEL}/aliases/{{alias}}", response={204: None}, summary="Remove an alias")
def remove_alias(request: ApiRequest, slug: str, name: str, alias: str) -> Status[None]:
    team = team_for(request.auth, slug, Role.MEMBER)
    changes.remove_alias(alias=selectors.alias_of(team, name, alias), by=request.auth)
    return Status(204, None)


@router.get(VERSION, response=VersionDetail, summary="Get a model version")
def show_version(request: ApiRequest, slug: str, name: str, version: str) -> ModelVersion:
    """`version` is a number, @ALIAS, or a stage, whose newest version is meant."""
    return _readable(selectors.version_of(team_for(request.auth, slug), name, version))


def _readable(version: ModelVersion) -> ModelVersion:
    """Return a version whose files can be listed, or raise here: the answer's schema hides why."""
    selectors.manifest_of(version)
    return version


@router.patch(
    VERSION,
    response=VersionDetail,
    summary="Change a version's stage, description or tags",
)
def change_version(
    request: ApiRequest,
    slug: str,
    name: str,
    version: str,
    payload: Annotated[VersionChange, JsonBody()],
) -> ModelVersion:
    team = team_for(request.auth, slug, Role.MEMBER)
    found = _readable(selectors.version_of(team, name, version))
    changes.change_version(version=found, by=request.auth, change=payload)
    return selectors.version_of(team, name, found.version)


@router.delete(VERSION, response={204: None}, summary="Delete a version")
def delete_version(request: ApiRequest, slug: str, name: str, version: str) -> Status[None]:
    """Refused while a service uses it. Its number is never used again."""
    found = selectors.version_of(team_for(request.auth, slug, Role.MEMBER), name, version)
    changes.delete_version(version=found, by=request.auth)
    return Status(204, None)


@router.get(f"{VERSION}/download", summary="A model version's files as an archive")
def download_version(
    request: ApiRequest, slug: str, name: str, version: str, format: str = "tar.gz"
) -> HttpResponseBase:
    found = selectors.version_of(team_for(request.auth, slug), name, version)
    return download(request, found, format)
