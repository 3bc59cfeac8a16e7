"""The REST API of what is registered: finding, comparing, changing and deleting it."""

import json
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http.response import HttpResponseBase
from ninja import Router, Status

from models import changes, selectors
from models.comparison import compare
from models.downloads import download
from models.models import ModelVersion, RegisteredModel, Stage
from models.registration import read_change
from models.schemas import ComparisonOut, ModelDetail, VersionDetail
from workspace.errors import FieldError, Invalid, NotFound, TooLarge
from workspace.models import Role
from workspace.requests import ApiRequest
from workspace.selectors import team_for

router = Router(tags=["models"])
MODEL = "teams/{slug}/models/{name}"
VERSION = f"{MODEL}/versions/{{version}}"


def _json_body(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


CHANGES = {
    "stage": {"type": "string", "enum": Stage.values},
    "archive_others": {
        "type": "boolean",
        "description": "Archive the versions that have this stage now.",
    },
    "description": {"type": "string"},
    "tags": {
        "type": "object",
        "description": "Set these and leave the others; null takes one away.",
    },
}


@router.get(MODEL, response=ModelDetail, summary="A model's versions")
def show_model(request: ApiRequest, slug: str, name: str) -> RegisteredModel:
    return selectors.model_of(team_for(request.auth, slug), name)


@router.delete(MODEL, response={204: None}, summary="Delete a model with all its versions")
def delete_model(request: ApiRequest, slug: str, name: str) -> Status[None]:
    """Refused while a service uses one of them."""
    model = selectors.model_of(team_for(request.auth, slug, Role.MEMBER), name)
    changes.delete_model(model=model, by=request.auth)
    return Status(204, None)


@router.get(f"{MODEL}/compare", response=ComparisonOut, summary="Two versions side by side")
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
    summary="Have an alias stand for a version",
    openapi_extra=_json_body({"version": {"type": "integer"}}),
)
def set_alias(request: ApiRequest, slug: str, name: str, alias: str) -> Status[ModelVersion]:
    team = team_for(request.auth, slug, Role.MEMBER)
    data = _json(request)
    which = data.get("version") if isinstance(data, dict) else None
    if not isinstance(which, int | str) or isinstance(which, bool):
        raise Invalid.of(FieldError("version", "Give the number of a version."))
    try:
        version = selectors.version_of(team, name, which)
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


@router.get(VERSION, response=VersionDetail, summary="A model version")
def show_version(request: ApiRequest, slug: str, name: str, version: str) -> ModelVersion:
    """`version` is a number, @ALIAS, or a stage, whose newest version is meant."""
    return _readable(selectors.version_of(team_for(request.auth, slug), name, version))


def _readable(version: ModelVersion) -> ModelVersion:
    """Give a version whose files can be listed, or raise here: the answer's schema hides why."""
    selectors.manifest_of(version)
    return version


@router.patch(
    VERSION,
    response=VersionDetail,
    summary="Change a version's stage, description or tags",
    openapi_extra=_json_body(CHANGES),
)
def change_version(request: ApiRequest, slug: str, name: str, version: str) -> ModelVersion:
    team = team_for(request.auth, slug, Role.MEMBER)
    found = _readable(selectors.version_of(team, name, version))
    changes.change_version(version=found, by=request.auth, change=read_change(_json(request)))
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


def _json(request: ApiRequest) -> Any:
    try:
        return json.loads(request.body)
    except RequestDataTooBig:
        raise TooLarge("This request is too large: it is a few lines of JSON.") from None
    except (ValueError, RecursionError) as error:
        raise Invalid.of(FieldError("body", f"This is not JSON: {error}")) from None
