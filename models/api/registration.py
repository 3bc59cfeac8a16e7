"""The REST API that registers models and lists them."""

import hashlib
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from ninja import Router, Status

from models import services
from models.api.schemas import ModelImportOut, ModelOut, VersionDetail
from models.imports.keras_files import start_import, start_import_from_run
from models.models import ModelImport, ModelVersion
from models.registration import RegistrationOfRun, RegistrationOfUpload
from models.savedmodel.folders import is_keras_file
from models.search import paginate, search_models
from runs.selectors import run_of
from workspace.accounts.selectors import team_for
from workspace.models import Role, Team
from workspace.platform.errors import FieldError, Invalid
from workspace.platform.json_body import inline_schema, parse_json, request_body, with_file
from workspace.platform.requests import ApiRequest
from workspace.platform.validation import validate

router = Router(tags=["models"])
JSON_FIELDS = ("resource_configuration", "tags", "properties")
FLAGS = {"true": True, "false": False}


@router.get("teams/{slug}/models", response=list[ModelOut], summary="List models")
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
    found = paginate(search_models(team, q=q, tag=tag, framework=framework, stage=stage), page)
    if found.has_next:
        response["X-Next-Page"] = str(found.number + 1)
    return found.models


@router.post(
    "teams/{slug}/models",
    response={201: VersionDetail, 202: ModelImportOut},
    summary="Register a model version",
    openapi_extra=request_body(
        {
            "application/json": inline_schema(RegistrationOfRun),
            "multipart/form-data": with_file(inline_schema(RegistrationOfUpload), "archive"),
        }
    ),
)
def register(request: ApiRequest, slug: str) -> Status[ModelVersion] | Status[ModelImport]:
    """Register a folder of a run's outputs (JSON), or an archive (multipart).

    In multipart, resource_configuration, tags and properties are JSON texts. A .keras or .h5 file,
    sent as the archive or named by the path, is converted first: the response is 202 and shows an
    import, whose state is at model-imports/NUMBER.
    """
    user = request.auth
    team = team_for(user, slug, Role.MEMBER)
    if request.content_type == "multipart/form-data":
        return _register_archive(request, team)
    given = validate(RegistrationOfRun, parse_json(request.body), name="body")
    run = run_of(team, given.run)
    if is_keras_file(given.path):
        return Status(
            202,
            start_import_from_run(
                run=run,
                by=user,
                path=given.path,
                registration=given,
                allows_code=given.allow_code,
            ),
        )
    version = services.register_from_run(by=user, run=run, path=given.path, registration=given)
    return Status(201, version)


def _register_archive(
    request: ApiRequest, team: Team
) -> Status[ModelVersion] | Status[ModelImport]:
    data: dict[str, Any] = {name: text for name, text in request.POST.items() if text != ""}
    for name in data.keys() & set(JSON_FIELDS):
        data[name] = parse_json(data[name], name)
    if "allow_code" in data:
        data["allow_code"] = FLAGS.get(data["allow_code"].lower(), data["allow_code"])
    given = validate(RegistrationOfUpload, data, name="body")
    archive = request.FILES.get("archive")
    if archive is None:
        raise Invalid.of(FieldError("archive", "Send a .zip, .tar.gz, .keras or .h5 as archive."))
    _check_digest(archive, given.sha256)
    filename = archive.name or ""
    if is_keras_file(filename):
        return Status(
            202,
            start_import(
                team=team,
                by=request.auth,
                file=archive,  # type: ignore[arg-type]
                filename=filename,
                registration=given,
                allows_code=given.allow_code,
            ),
        )
    version = services.register_from_archive(
        team=team,
        by=request.auth,
        file=archive,  # type: ignore[arg-type]
        filename=filename,
        path=given.path,
        registration=given,
    )
    return Status(201, version)


def _check_digest(file: UploadedFile, expected: str) -> None:
    if not expected:
        return
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise Invalid.of(
            FieldError("sha256", f"The file arrived with the SHA-256 {digest}: send it again.")
        )
