"""What a run wrote, over REST: logs by byte and by line, metrics, usage, files."""

import io
import mimetypes
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header
from ninja import Router
from typing_extensions import Buffer

from runs import metrics, usage
from runs.files import StoredFile, file_of, files_of
from runs.logs import Log, LogFile, build_log_of, log_of
from runs.logs_merged import MergedLog
from runs.models import ProcessGroup, Run
from runs.selectors import latest_attempt, processes_of_run, run_of
from workspace.errors import FieldError, Invalid, NotFound
from workspace.models import Team
from workspace.requests import ApiRequest
from workspace.selectors import team_for
from workspace.streaming import in_threads, pieces_of

router = Router(tags=["logs, metrics and files"])

MERGED, BUILD = "merged", "build"
MAX_BYTES = 4 * 1024 * 1024
MAX_LINES = 5_000
MAX_MATCHES = 1_000
MAX_POINTS = 20_000
UNTRUSTED = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


@router.get("teams/{slug}/runs/{int:number}/logs/{process}/lines")
def log_lines(
    request: ApiRequest,
    slug: str,
    number: int,
    process: str,
    first: int = 0,
    count: int = 1000,
) -> dict[str, Any]:
    """Give lines of a log; `first` below 0 counts from the end."""
    log = _log(_run(request, slug, number), process)
    return lines_answer(log, first, count)


@router.get("teams/{slug}/runs/{int:number}/logs/{process}/search")
def log_search(
    request: ApiRequest,
    slug: str,
    number: int,
    process: str,
    q: str,
    limit: int = 200,
) -> dict[str, Any]:
    log = _log(_run(request, slug, number), process)
    return search_answer(log, q, _step(request, "from") or 0, limit)


@router.get("teams/{slug}/runs/{int:number}/logs/{process}")
def log_bytes(
    request: ApiRequest, slug: str, number: int, process: str, offset: int = 0
) -> HttpResponse:
    """Give a log's bytes from `offset` on; X-Next-Offset says where to go on."""
    log = _log(_run(request, slug, number), process)
    if not isinstance(log, LogFile):
        raise Invalid.of(
            FieldError("process", "The merged log is read by line: use …/logs/merged/lines.")
        )
    return bytes_answer(log, offset)


@router.get("teams/{slug}/runs/{int:number}/metrics")
def list_metrics(
    request: ApiRequest,
    slug: str,
    number: int,
    name: str = "",
    max_points: int = 1000,
) -> dict[str, Any]:
    """Give the series of a run; with `name`, its points, at most `max_points` of each.

    `from` and `to` are the first and last step wanted. Of each stretch of steps the least and the
    greatest value are kept.
    """
    if not 2 <= max_points <= MAX_POINTS:
        raise Invalid.of(FieldError("max_points", f"Use 2 to {MAX_POINTS:,}."))
    run = _run(request, slug, number)
    found = metrics.series_of(
        run,
        name=name,
        max_points=max_points if name else 2,
        first=_step(request, "from"),
        last=_step(request, "to"),
    )
    return {"series": [metrics.as_json(series) for series in found]}


@router.get("teams/{slug}/runs/{int:number}/usage")
def list_usage(
    request: ApiRequest, slug: str, number: int, process: str = "", max_points: int = 500
) -> dict[str, Any]:
    if not 2 <= max_points <= MAX_POINTS:
        raise Invalid.of(FieldError("max_points", f"Use 2 to {MAX_POINTS:,}."))
    run = _run(request, slug, number)
    return {
        "processes": [
            {
                "process": one.name,
                "samples": [usage.message(sample) for sample in usage.series(one, max_points)],
            }
            for one in processes_of_run(run)
            if process in {"", one.name}
        ]
    }


@router.get("teams/{slug}/runs/{int:number}/files")
def list_files(request: ApiRequest, slug: str, number: int) -> dict[str, Any]:
    return {
        "files": [
            {
                "path": file.path,
                "process": file.process,
                "size": file.size,
                "sha256": file.digest,
                "stored_at": file.at,
            }
            for file in files_of(_run(request, slug, number))
        ]
    }


@router.get("teams/{slug}/runs/{int:number}/files.zip")
def download_all(request: ApiRequest, slug: str, number: int) -> StreamingHttpResponse:
    """Give all files of a run as one archive, made as it is sent."""
    run = _run(request, slug, number)
    response = StreamingHttpResponse(
        in_threads(zip_of(files_of(run))), content_type="application/zip", headers=UNTRUSTED
    )
    response["Content-Disposition"] = f'attachment; filename="{run.team.slug}-run-{number}.zip"'
    return response


@router.get("teams/{slug}/runs/{int:number}/files/{path:path}")
def download_file(request: ApiRequest, slug: str, number: int, path: str) -> StreamingHttpResponse:
    return file_answer(file_of(_run(request, slug, number), path))


def lines_answer(log: Log, first: int, count: int) -> dict[str, Any]:
    if not 1 <= count <= MAX_LINES:
        raise Invalid.of(FieldError("count", f"Use 1 to {MAX_LINES:,}."))
    lines = asdict(log.lines(first, count))
    return {"complete": lines.pop("is_complete"), **lines}


def search_answer(log: Log, query: str, first: int, limit: int) -> dict[str, Any]:
    if not 1 <= len(query) <= 200:
        raise Invalid.of(FieldError("q", "Search for 1 to 200 characters."))
    if not 1 <= limit <= MAX_MATCHES:
        raise Invalid.of(FieldError("limit", f"Use 1 to {MAX_MATCHES:,}."))
    found = asdict(log.search(query, max(first, 0), limit))
    return {"done": found.pop("is_done"), **found}


def bytes_answer(log: LogFile, offset: int) -> HttpResponse:
    if offset < 0:
        raise Invalid.of(FieldError("offset", "An offset is 0 or more."))
    content = log.read(offset, MAX_BYTES)
    response = HttpResponse(content, content_type="text/plain; charset=utf-8", headers=UNTRUSTED)
    response["X-Next-Offset"] = str(offset + len(content))
    return response


def file_answer(file: StoredFile) -> StreamingHttpResponse:
    """Give a file for saving; pictures keep their type, so that a page can show them."""
    kind = mimetypes.guess_type(file.path)[0] or ""
    if not kind.startswith("image/") or kind == "image/svg+xml":
        kind = "application/octet-stream"
    response = StreamingHttpResponse(
        in_threads(pieces_of(file.location.open("rb"))), content_type=kind, headers=UNTRUSTED
    )
    name = file.path.rpartition("/")[2]
    response["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    response["Content-Length"] = str(file.size)
    return response


class _Outlet(io.RawIOBase):
    """Takes what a zip writer writes, to be handed on piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def zip_of(files: Iterable[StoredFile]) -> Iterator[bytes]:
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.path, file.at.timetuple()[:6])
            with archive.open(entry, "w", force_zip64=True) as into:
                for piece in pieces_of(file.location.open("rb")):
                    into.write(piece)
                    yield outlet.take()
    yield outlet.take()


def _run(request: ApiRequest, slug: str, number: int) -> Run:
    team: Team = team_for(request.auth, slug)
    return run_of(team, number)


def _log(run: Run, process: str) -> Log:
    """Give the log of a process of the latest attempt, of the build, or of all merged."""
    if process == BUILD:
        if run.environment is None:
            raise NotFound(f"Run {run.number} has no environment yet.")
        return build_log_of(run.environment)
    group = latest_attempt(run)
    if group is None:
        raise NotFound(f"Run {run.number} has no processes yet.")
    names = _names(group)
    if process == MERGED:
        return MergedLog(group.label, tuple(names))
    if process not in names:
        raise NotFound(f"Run {run.number} has no process {process[:40]!r}: {', '.join(names)}.")
    return log_of(group.label, process)


def _names(group: ProcessGroup) -> list[str]:
    return [process.name for process in group.processes.all()]


def _step(request: HttpRequest, name: str) -> int | None:
    value = request.GET.get(name)
    if value is None:
        return None
    try:
        return int(value)
    except ValueError as error:
        raise Invalid.of(FieldError(name, "Use a whole number.")) from error
