"""The REST API of the registry."""

import json
from datetime import datetime
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http.response import HttpResponseBase
from ninja import Router, Schema, Status

from models import selectors, services
from models.downloads import download
from models.models import ModelVersion, RegisteredModel
from models.registration import FIELDS, read_registration
from runs.models import Run
from runs.selectors import run_of
from workspace.errors import FieldError, Invalid, TooLarge
from workspace.models import Role, Team
from workspace.requests import ApiRequest
from workspace.selectors import team_for

router = Router(tags=["models"])
JSON_FIELDS = ("resource_configuration", "tags", "properties")


def _of_kind(kind: str, *names: str) -> dict[str, dict[str, str]]:
    return {name: {"type": kind} for name in names}


TEXTS = _of_kind("string", "path", "name", "framework", "framework_version", "stage", "description")
REGISTER_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["run", "name"],
                "properties": {
                    **TEXTS,
                    **_of_kind("integer", "run"),
                    **_of_kind("object", *JSON_FIELDS),
                },
            }
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["archive", "name"],
                "properties": {
                    **TEXTS,
                    **_of_kind("string", *JSON_FIELDS),
                    "archive": {"type": "string", "format": "binary"},
                },
            }
        },
    },
}


class VersionOut(Schema):
    id: str
    name: str
    version: int
    framework: str
    framework_version: str
    resource_configuration: dict[str, Any]
    stage: str
    aliases: list[str]
    tags: dict[str, str]
    properties: dict[str, str]
    description: str
    signatures: dict[str, Any]
    file_count: int
    total_bytes: int
    run: int | None
    experiment: str | None
    snapshot: str | None
    path: str
    created_by: str | None
    created_at: datetime
    url: str

    @staticmethod
    def resolve_id(version: ModelVersion) -> str:
        return str(version)

    @staticmethod
    def resolve_name(version: ModelVersion) -> str:
        return version.model.name

    @staticmethod
    def resolve_aliases(version: ModelVersion) -> list[str]:
        return sorted(alias.name for alias in version.aliases.all())

    @staticmethod
    def resolve_run(version: ModelVersion) -> int | None:
        return version.run.number if version.run else None

    @staticmethod
    def resolve_experiment(version: ModelVersion) -> str | None:
        return version.run.experiment.name if version.run else None

    @staticmethod
    def resolve_snapshot(version: ModelVersion) -> str | None:
        return version.run.snapshot.digest if version.run else None

    @staticmethod
    def resolve_created_by(version: ModelVersion) -> str | None:
        return version.created_by.get_username() if version.created_by else None

    @staticmethod
    def resolve_url(version: ModelVersion) -> str:
        model = version.model
        return f"/t/{model.team.slug}/models/{model.name}/versions/{version.version}/"


class FileOut(Schema):
    path: str
    size: int
    digest: str


class VersionDetail(VersionOut):
    files: list[FileOut]

    @staticmethod
    def resolve_files(version: ModelVersion) -> list[dict[str, Any]]:
        return selectors.manifest_of(version).to_json()


class ModelOut(Schema):
    name: str
    latest_version: int
    created_at: datetime

    @staticmethod
    def resolve_latest_version(model: RegisteredModel) -> int:
        newest: int = model.newest  # type: ignore[attr-defined]
        return newest


class ModelDetail(ModelOut):
    versions: list[VersionOut]

    @staticmethod
    def resolve_versions(model: RegisteredModel) -> list[ModelVersion]:
        return list(selectors.versions_of(model))


@router.post(
    "teams/{slug}/models",
    response={201: VersionDetail},
    summary="Register a model version",
    openapi_extra={"requestBody": REGISTER_BODY},
)
def register(request: ApiRequest, slug: str) -> Status[ModelVersion]:
    """Register a folder of a run's outputs (JSON), or an archive (multipart)."""
    user = request.auth
    team = team_for(user, slug, Role.MEMBER)
    if request.content_type == "multipart/form-data":
        return Status(201, _register_archive(request, team))
    data = _json_object(_body(request))
    registration = read_registration(data, besides=("run", "path"))
    path = _path(data)
    run = _run(team, data.get("run"))
    version = services.register_from_run(by=user, run=run, path=path, registration=registration)
    return Status(201, version)


def _register_archive(request: ApiRequest, team: Team) -> ModelVersion:
    data: dict[str, Any] = {name: request.POST[name] for name in request.POST}
    for name in JSON_FIELDS:
        if data.get(name):
            data[name] = _parsed(data[name], name)
        else:
            data.pop(name, None)
    registration = read_registration(data, besides=("path",))
    archive = request.FILES.get("archive")
    if archive is None:
        raise Invalid.of(FieldError("archive", "Send a .zip or .tar.gz as the file archive."))
    return services.register_from_archive(
        team=team,
        by=request.auth,
        file=archive,  # type: ignore[arg-type]
        filename=archive.name or "",
        path=_path(data),
        registration=registration,
    )


def _body(request: ApiRequest) -> bytes:
    try:
        return request.body
    except RequestDataTooBig:
        raise TooLarge("This request is too large: its fields are a few lines of JSON.") from None


def _json_object(body: bytes) -> dict[str, Any]:
    data = _parsed(body, "body")
    if not isinstance(data, dict):
        raise Invalid.of(
            FieldError("body", f"Send a JSON object with {', '.join(('run', 'path', *FIELDS))}.")
        )
    return data


def _parsed(text: str | bytes, field: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid.of(FieldError(field, f"This is not JSON: {error}")) from None


def _path(data: dict[str, Any]) -> str:
    path = data.get("path") or ""
    if not isinstance(path, str) or len(path) > 1000 or "\0" in path:
        raise Invalid.of(FieldError("path", "Use text of at most 1,000 characters."))
    return path


def _run(team: Team, number: Any) -> Run:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**31:
        raise Invalid.of(FieldError("run", "Give the run's number."))
    return run_of(team, number)


@router.get("teams/{slug}/models", response=list[ModelOut], summary="A team's models")
def list_models(request: ApiRequest, slug: str) -> Any:
    return selectors.models_of(team_for(request.auth, slug))


@router.get("teams/{slug}/models/{name}", response=ModelDetail, summary="A model's versions")
def show_model(request: ApiRequest, slug: str, name: str) -> RegisteredModel:
    return selectors.model_of(team_for(request.auth, slug), name)


@router.get(
    "teams/{slug}/models/{name}/versions/{version}",
    response=VersionDetail,
    summary="A model version",
)
def show_version(request: ApiRequest, slug: str, name: str, version: str) -> ModelVersion:
    return selectors.version_of(team_for(request.auth, slug), name, version)


@router.get(
    "teams/{slug}/models/{name}/versions/{version}/download",
    summary="A model version's files as an archive",
)
def download_version(
    request: ApiRequest, slug: str, name: str, version: str, format: str = "tar.gz"
) -> HttpResponseBase:
    found = selectors.version_of(team_for(request.auth, slug), name, version)
    return download(request, found, format)
