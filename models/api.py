"""The REST API that registers models and lists them."""

import hashlib
import json
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from ninja import Router, Status

from models import services
from models.imports import begin_import, begin_import_of_run
from models.models import Import, ModelVersion
from models.registration import FIELDS, read_registration
from models.savedmodel import is_keras_file
from models.schemas import ImportOut, ModelOut, VersionDetail
from models.search import found_models, page_of
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
                    **_of_kind("boolean", "allow_code"),
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
                    **_of_kind("boolean", "allow_code"),
                    "archive": {"type": "string", "format": "binary"},
                },
            }
        },
    },
}


@router.get("teams/{slug}/models", response=list[ModelOut], summary="A team's models")
def list_models(
    request: ApiRequest,
    response: HttpResponse,
    slug: str,
    q: str = "",
    tag: str = "",
    framework: str = "",
    stage: str = "",
    page: str = "1",
) -> Any:
    """Fifty to a page, the newest first; X-Next-Page names the next one, where there is one.

    `q` is part of a name, `tag` a NAME or NAME:VALUE, `framework` a version such as 2.15.
    """
    team = team_for(request.auth, slug)
    found = page_of(found_models(team, q=q, tag=tag, framework=framework, stage=stage), page)
    if found.has_next:
        response["X-Next-Page"] = str(found.number + 1)
    return found.models


@router.post(
    "teams/{slug}/models",
    response={201: VersionDetail, 202: ImportOut},
    summary="Register a model version",
    openapi_extra={"requestBody": REGISTER_BODY},
)
def register(request: ApiRequest, slug: str) -> Status[ModelVersion] | Status[Import]:
    """Register a folder of a run's outputs (JSON), or an archive (multipart).

    A .keras or .h5 file, sent as the archive or named by the path, is converted first: the answer
    is 202 and tells of an import, whose state is at model-imports/NUMBER.
    """
    user = request.auth
    team = team_for(user, slug, Role.MEMBER)
    if request.content_type == "multipart/form-data":
        return _register_archive(request, team)
    data = _json_object(_body(request))
    registration = read_registration(data, besides=("run", "path", "allow_code"))
    path = _path(data)
    run = _run(team, data.get("run"))
    if is_keras_file(path):
        allows_code = _flag(data, "allow_code")
        return Status(
            202,
            begin_import_of_run(
                run=run, by=user, path=path, registration=registration, allows_code=allows_code
            ),
        )
    version = services.register_from_run(by=user, run=run, path=path, registration=registration)
    return Status(201, version)


def _register_archive(request: ApiRequest, team: Team) -> Status[ModelVersion] | Status[Import]:
    data: dict[str, Any] = {name: request.POST[name] for name in request.POST}
    for name in JSON_FIELDS:
        if data.get(name):
            data[name] = _parsed(data[name], name)
        else:
            data.pop(name, None)
    registration = read_registration(data, besides=("path", "allow_code", "sha256"))
    archive = request.FILES.get("archive")
    if archive is None:
        raise Invalid.of(FieldError("archive", "Send a .zip, .tar.gz, .keras or .h5 as archive."))
    _check_digest(archive, data.get("sha256"))
    filename = archive.name or ""
    if is_keras_file(filename):
        return Status(
            202,
            begin_import(
                team=team,
                by=request.auth,
                file=archive,  # type: ignore[arg-type]
                filename=filename,
                registration=registration,
                allows_code=_flag(data, "allow_code"),
            ),
        )
    version = services.register_from_archive(
        team=team,
        by=request.auth,
        file=archive,  # type: ignore[arg-type]
        filename=filename,
        path=_path(data),
        registration=registration,
    )
    return Status(201, version)


def _check_digest(file: UploadedFile, expected: object) -> None:
    if not expected:
        return
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise Invalid.of(
            FieldError("sha256", f"The file came with the SHA-256 {digest}: send it again.")
        )


def _flag(data: dict[str, Any], name: str) -> bool:
    """Read a yes or no, which a form can only send as text."""
    value = data.get(name, False)
    words = {"true": True, "false": False, "": False}
    found = words.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise Invalid.of(FieldError(name, "Use true or false."))
    return found


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
