"""Bytes that processes wrote, as answers that no browser will run."""

import mimetypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from runs.files.archives import tar_of_files, zip_of_files
from runs.files.store import RunFileOnDisk
from workspace.platform.streaming import CHUNK_BYTES, streaming_response

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
PICTURES = {"image/png", "image/jpeg", "image/gif", "image/webp"}


def file_response(request: HttpRequest, file: RunFileOnDisk) -> HttpResponseBase:
    """Return a file, or the one range of it that is asked for."""
    size = file.location.stat().st_size
    found = _range(request.headers.get("Range", ""), size)
    if found is None:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    start, end = found
    is_part = (start, end) != (0, size)
    answer = streaming_response(
        request, _pieces(file.location, start, end), _content_type(file.path), end - start
    )
    answer["Accept-Ranges"] = "bytes"
    answer["Content-Disposition"] = _attachment(file.location.name)
    if is_part:
        answer.status_code = 206
        answer["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return answer


def archive_response(
    request: HttpRequest, files: Iterable[RunFileOnDisk], kind: str, name: str
) -> HttpResponseBase:
    """Return files as one .zip or .tar, made while it is sent."""
    pieces = zip_of_files(files) if kind == "zip" else tar_of_files(files)
    answer = streaming_response(
        request, pieces, f"application/{'zip' if kind == 'zip' else 'x-tar'}"
    )
    answer["Content-Disposition"] = _attachment(f"{name}.{kind}")
    return answer


def _content_type(path: str) -> str:
    """Tell pictures, which pages show, from what is only ever saved."""
    kind = mimetypes.guess_type(path)[0] or ""
    return kind if kind in PICTURES else "application/octet-stream"


def _attachment(name: str) -> str:
    return content_disposition_header(as_attachment=True, filename=name) or "attachment"


def _range(header: str, size: int) -> tuple[int, int] | None:
    """Read a Range header: what part it asks for, None for one that lies beyond the end."""
    match = RANGE.fullmatch(header)
    if match is None or match.group(1) == match.group(2) == "":
        return 0, size
    if match.group(1) == "":
        length = int(match.group(2))
        return (max(size - length, 0), size) if length and size else None
    start = int(match.group(1))
    end = int(match.group(2)) + 1 if match.group(2) else size
    if start >= size:
        return None
    return (start, min(end, size)) if start < end else (0, size)


def _pieces(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (piece := file.read(min(CHUNK_BYTES, end - start))):
            start += len(piece)
            yield piece
