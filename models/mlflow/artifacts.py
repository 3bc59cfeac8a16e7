"""Artifacts: files of a run below `outputs/mlflow/`, by MLflow's paths EXPERIMENT/RUN/artifacts."""

from typing import Any
from urllib.parse import unquote

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from models.mlflow.ids import artifact_uri, experiment_id, run_with_id
from models.mlflow.requests import MlflowRequest, Text
from models.mlflow.run_data import OfRun, check_active
from models.mlflow.transport import Caller, NotOffered
from runs.files.downloads import file_response
from runs.files.store import OUTPUTS, file_of
from runs.files.uploads import receive_file, remove_file
from runs.models import Run, RunFile
from runs.source.paths import problem_of, shown
from workspace.platform.errors import Invalid, NotFound

ROOT = f"{OUTPUTS}/mlflow"
MARK = "artifacts"
MAX_DECODINGS = 5


class ArtifactsOfRun(OfRun):
    path: Text = ""


class ArtifactsBelow(MlflowRequest):
    path: Text = ""


def put_artifact(request: HttpRequest, caller: Caller, path: str) -> HttpResponseBase:
    run, inside = _place(caller, path)
    check_active(run)
    receive_file(run, _stored(inside), request.read)
    return JsonResponse({})


def get_artifact(request: HttpRequest, caller: Caller, path: str) -> HttpResponseBase:
    run, inside = _place(caller, path)
    return file_response(request, file_of(run, _stored(inside)))


def delete_artifact(request: HttpRequest, caller: Caller, path: str) -> HttpResponseBase:
    """Delete a file, or all below a folder."""
    run, inside = _place(caller, path)
    check_active(run)
    place = _stored(inside)
    found = [each for each, _ in _files(run) if each == place or each.startswith(f"{place}/")]
    if not found:
        raise NotFound(f"No such artifact: '{shown(inside)}'")
    for each in found:
        remove_file(run, each)
    return JsonResponse({})


def list_artifacts(caller: Caller, given: ArtifactsBelow) -> dict[str, Any]:
    """List what is in a folder by its own names; nothing is in a file, nor where nothing is."""
    run, inside = _place(caller, given.path, is_folder=True)
    return {"files": _listed(run, inside)}


def list_artifacts_of_run(caller: Caller, given: ArtifactsOfRun) -> dict[str, Any]:
    """List what is in a folder by its paths below the run's artifacts."""
    run = run_with_id(caller.team, given.run_id)
    inside = _checked(given.path.strip("/")) if given.path.strip("/") else ""
    start = f"{inside}/" if inside else ""
    files = [{**file, "path": f"{start}{file['path']}"} for file in _listed(run, inside)]
    return {"root_uri": artifact_uri(run), "files": files}


def not_offered(request: HttpRequest, caller: Caller, path: str) -> HttpResponseBase:
    raise NotOffered("Files come and go in one request each: leave multipart transfers off.")


def _place(caller: Caller, path: str, *, is_folder: bool = False) -> tuple[Run, str]:
    """Return the run that a path names, and what it names among the run's artifacts."""
    path = _checked(path.strip("/") if is_folder else path)
    experiment, run_id, mark, inside = (*path.split("/", 3), "", "", "", "")[:4]
    run = run_with_id(caller.team, run_id)
    if mark != MARK or experiment != experiment_id(run.experiment):
        raise NotFound(f"No such artifact: '{shown(path)}'")
    if not inside and not is_folder:
        raise Invalid(f"Invalid path: {shown(path)} names no file.")
    return run, _checked(inside) if inside else ""


def _checked(path: str) -> str:
    """Refuse a path that leads elsewhere, also once somebody decodes it again."""
    decoded = path
    for _ in range(MAX_DECODINGS):
        if problem := problem_of(decoded):
            raise Invalid(f"Invalid path: {shown(path)}: {problem}.")
        if "#" in decoded:
            raise Invalid(f"Invalid path: {shown(path)}: it has a #.")
        if decoded == (decoded := unquote(decoded)):
            return path
    raise Invalid(f"Invalid path: {shown(path)}: it is encoded too often.")


def _stored(inside: str) -> str:
    return f"{ROOT}/{inside}"


def _files(run: Run) -> list[tuple[str, int]]:
    """Return the paths and sizes of a run's artifacts."""
    found = RunFile.objects.filter(run=run, path__startswith=f"{ROOT}/").order_by("path")
    return list(found.values_list("path", "size_bytes"))


def _listed(run: Run, folder: str) -> list[dict[str, Any]]:
    start = f"{ROOT}/{folder}/" if folder else f"{ROOT}/"
    sizes: dict[str, int | None] = {}
    for path, size in _files(run):
        if path.startswith(start):  # SQLite's LIKE takes A for a
            name, inner, _ = path.removeprefix(start).partition("/")
            sizes[name] = None if inner else size
    return [
        {"path": name, "is_dir": True}
        if size is None
        else {"path": name, "is_dir": False, "file_size": size}
        for name, size in sorted(sizes.items())
    ]
