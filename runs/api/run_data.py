"""The REST API of what runs leave to watch and to fetch: logs, metrics, usage, files."""

from datetime import datetime
from typing import Annotated, Any, Literal

from django.http.response import HttpResponseBase
from ninja import Field, Query, Router, Schema, Status

from runs.api import log_responses
from runs.api.log_responses import (
    FirstLine,
    LineCount,
    LinesOut,
    MatchesOut,
    MatchLimit,
    Offset,
    SearchFrom,
    SearchText,
)
from runs.files import store as files
from runs.files.downloads import archive_response, file_response
from runs.files.uploads import receive_file, remove_file
from runs.logs.sources import LogSource, log_named, logs_of_run
from runs.metrics import series as metrics
from runs.metrics import usage
from runs.metrics.logged import MAX_AT_ONCE, parse_metrics, store_metrics
from runs.metrics.series_limits import MAX_NAME_LENGTH, left_out_of
from runs.models import Run
from runs.selectors import processes_of_run, run_of
from runs.source.paths import shown
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.errors import NotFound
from workspace.platform.json_body import inline_schema, parse_json, request_body
from workspace.platform.requests import ApiRequest

router = Router(tags=["logs, metrics and files"])
RUN = "teams/{slug}/runs/{int:number}"
MaxPoints = Annotated[int, Query(1000, ge=3, le=metrics.MAX_POINTS)]
FILE_BODY = {"requestBody": {"content": {"application/octet-stream": {}}, "required": True}}
Step = Annotated[int | None, Query(None, ge=-(2**63), le=2**63 - 1)]


class FileOut(Schema):
    path: str
    size: int
    process: str
    sha256: str
    at: datetime


class StoredOutputOut(Schema):
    path: str
    size: int
    sha256: str


class FilesOut(Schema):
    files: list[FileOut]
    total_bytes: int


class PreviewOut(Schema):
    path: str
    size: int
    text: str | None
    is_cut: bool


@router.get(f"{RUN}/logs/{{process}}", response={200: bytes})
def log(
    request: ApiRequest, slug: str, number: int, process: str, offset: Offset
) -> HttpResponseBase:
    """Return a log from a byte offset on: of role-index, `merged`, or `build`."""
    watched = _log(_run(request, slug, number), process)
    return log_responses.bytes_response(request, watched, offset, f"run-{number}-{process}.log")


@router.get(f"{RUN}/logs/{{process}}/lines", response=LinesOut)
def log_lines(
    request: ApiRequest, slug: str, number: int, process: str, first: FirstLine, count: LineCount
) -> dict[str, Any]:
    """Return lines of a log, counted from 0; a negative `first` counts from the end."""
    return log_responses.lines_response(_log(_run(request, slug, number), process), first, count)


@router.get(f"{RUN}/logs/{{process}}/search", response=MatchesOut)
def log_search(
    request: ApiRequest,
    slug: str,
    number: int,
    process: str,
    q: SearchText,
    first: SearchFrom,
    limit: MatchLimit,
) -> dict[str, Any]:
    """Find a text in a log, whatever the case of its letters."""
    watched = _log(_run(request, slug, number), process)
    return log_responses.search_response(watched, q, first, limit)


@router.get(f"{RUN}/metrics")
def run_metrics(
    request: ApiRequest,
    slug: str,
    number: int,
    max_points: MaxPoints,
    name: str = "",
    first: Annotated[Step, Query(None, alias="from")] = None,
    last: Annotated[Step, Query(None, alias="to")] = None,
    names_only: bool = False,
) -> dict[str, Any]:
    """Return a run's metrics; long ones as the minimum and maximum of each range of steps."""
    run = _run(request, slug, number)
    found = metrics.series_of(
        run, name=name, max_points=max_points, first=first, last=last, names_only=names_only
    )
    return {
        "series": [metrics.as_json(series) for series in found],
        "left_out": left_out_of(run),
    }


class MetricIn(Schema):
    """A value of a metric; `timestamp` in milliseconds since 1970, or as ISO 8601 has it."""

    name: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    value: float | Literal["NaN", "Infinity", "-Infinity"]
    step: int | None = Field(0, ge=-(2**63), le=2**63 - 1)
    timestamp: float | datetime | None = None


class MetricsIn(Schema):
    metrics: list[MetricIn] = Field(min_length=1, max_length=MAX_AT_ONCE)


class StoredMetricsOut(Schema):
    """How many metrics are stored now that were not before."""

    stored: int


@router.post(
    f"{RUN}/metrics",
    response=StoredMetricsOut,
    openapi_extra=request_body({"application/json": inline_schema(MetricsIn)}),
)
def log_metrics(request: ApiRequest, slug: str, number: int) -> dict[str, int]:
    """Store up to 1,000 metrics of a run, or none if one is wrong; a repeat is stored once.

    The step is 0 and the time is now where they are not given.
    """
    run = run_of(team_for(request.auth, slug, Role.MEMBER), number)
    return {"stored": store_metrics(run, parse_metrics(parse_json(request.body)))}


@router.get(f"{RUN}/usage")
def run_usage(
    request: ApiRequest, slug: str, number: int, max_points: MaxPoints, process: str = ""
) -> dict[str, Any]:
    """Return what the processes of a run used over time."""
    processes = [
        one for one in processes_of_run(_run(request, slug, number)) if process in {"", one.name}
    ]
    if process and not processes:
        raise NotFound(f"Run {number} has no process {process[:60]!r}.")
    return {
        "processes": [
            {
                "process": one.name,
                "samples": [usage.sample_json(sample) for sample in usage.series(one, max_points)],
            }
            for one in processes
        ]
    }


@router.get(f"{RUN}/files", response=FilesOut)
def run_files(request: ApiRequest, slug: str, number: int) -> dict[str, Any]:
    found = files.files_of(_run(request, slug, number))
    return {
        "files": [
            {
                "path": file.path,
                "size": file.size,
                "process": file.process,
                "sha256": file.digest,
                "at": file.at,
            }
            for file in found
        ],
        "total_bytes": sum(file.size for file in found),
    }


@router.get(f"{RUN}/files.{{kind}}", response={200: bytes})
def run_archive(
    request: ApiRequest, slug: str, number: int, kind: str, under: str = ""
) -> HttpResponseBase:
    """Return all files of a run, or those below the folder `under`, as files.zip or files.tar."""
    run = _run(request, slug, number)
    if kind not in {"zip", "tar"}:
        raise NotFound("Archives come as files.zip or files.tar.")
    folder = f"{under.strip('/')}/" if under.strip("/") else ""
    found = [file for file in files.files_of(run) if file.path.startswith(folder)]
    if folder and not found:
        raise NotFound(f"Run {number} has no files below {shown(folder)}.")
    return archive_response(request, found, kind, f"run-{number}")


@router.get(f"{RUN}/files/{{path:path}}", response={200: bytes})
def run_file(request: ApiRequest, slug: str, number: int, path: str) -> HttpResponseBase:
    """Return a file of a run, or the range of it that is asked for."""
    return file_response(request, files.file_of(_run(request, slug, number), path))


@router.put(
    f"{RUN}/files/{{path:path}}",
    response={200: StoredOutputOut, 201: StoredOutputOut},
    openapi_extra=FILE_BODY,
)
def put_run_file(request: ApiRequest, slug: str, number: int, path: str) -> Status[StoredOutputOut]:
    """Store the body as an output of a run, in place of one that is there (200) or new (201).

    The path is below outputs/.
    """
    run = run_of(team_for(request.auth, slug, Role.MEMBER), number)
    file, is_new = receive_file(run, path, request.read)
    stored = StoredOutputOut(path=file.path, size=file.size, sha256=file.digest)
    return Status(201 if is_new else 200, stored)


@router.delete(f"{RUN}/files/{{path:path}}", response={204: None})
def delete_run_file(request: ApiRequest, slug: str, number: int, path: str) -> Status[None]:
    """Delete an output of a run; one that a process left, only when the run is over."""
    remove_file(run_of(team_for(request.auth, slug, Role.MEMBER), number), path)
    return Status(204, None)


@router.get(f"{RUN}/preview/{{path:path}}", response=PreviewOut)
def run_file_preview(request: ApiRequest, slug: str, number: int, path: str) -> files.FilePreview:
    """Return the text of a file, or the beginning of a long one; null for what is not text."""
    return files.preview_of(files.file_of(_run(request, slug, number), path))


def _run(request: ApiRequest, slug: str, number: int) -> Run:
    return run_of(team_for(request.auth, slug), number)


def _log(run: Run, name: str) -> LogSource:
    return log_named(logs_of_run(run), name)
