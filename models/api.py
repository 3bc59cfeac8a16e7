"""The REST API that registers models and lists them."""

import json
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse
from ninja import Router, Status

from models import services
from models.models import ModelVersion
from models.registration import FIELDS, read_registration
from models.schemas import ModelOut, VersionDetail
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
