"""Bytes that processes wrote, as answers that no browser will run."""

import io
import mimetypes
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from typing_extensions import Buffer

from runs.files import StoredFile
from workspace.streaming import PIECE, streamed

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
PICTURES = {"image/png", "image/jpeg", "image/gif", "image/webp"}


def file_answer(request: HttpRequest, file: StoredFile) -> HttpResponseBase:
    """Give a file, or the one range of it that is asked for."""
    size = file.location.stat().st_size
    found = _range(request.headers.get("Range", ""), size)
    if found is None:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    start, end = found
    is_part = (start, end) != (0, size)
    answer = streamed(
        request, _pieces(file.location, start, end), _content_type(file.path), end - start
    )
    answer["Accept-Ranges"] = "bytes"
    answer["Content-Disposition"] = _attachment(file.location.name)
    if is_part:
        answer.status_code = 206
        answer["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return answer


def archive_answer(
    request: HttpRequest, files: Iterable[StoredFile], kind: str, name: str
) -> HttpResponseBase:
    """Give files as one .zip or .tar, made while it is sent."""
    pieces = _zip(files) if kind == "zip" else tar_of_files(files)
    answer = streamed(request, pieces, f"application/{'zip' if kind == 'zip' else 'x-tar'}")
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
        while start < end and (piece := file.read(min(PIECE, end - start))):
            start += len(piece)
            yield piece


class _Outbox(io.RawIOBase):
    """A file to write an archive to, whose content is taken out as it grows."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self._held += data
        return len(memoryview(data))

    def take(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held


def _zip(files: Iterable[StoredFile]) -> Iterator[bytes]:
    outbox = _Outbox()
    # A file that cannot be sought makes zipfile write each entry's sizes after it.
    with zipfile.ZipFile(cast("IO[bytes]", outbox), "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.path, file.at.timetuple()[:6])
            entry.external_attr = 0o644 << 16
            with (
                file.location.open("rb") as source,
                archive.open(entry, "w", force_zip64=True) as target,
            ):
                while piece := source.read(PIECE):
                    target.write(piece)
                    yield outbox.take()
    yield outbox.take()


def tar_of_files(files: Iterable[StoredFile]) -> Iterator[bytes]:
    for file in files:
        with file.location.open("rb") as source:
            size = file.location.stat().st_size
            yield _tar_header(file, size)
            sent = 0
            # A log may grow while it is read; the header has promised `size` bytes.
            while piece := source.read(min(PIECE, size - sent)):
                sent += len(piece)
                yield piece
            yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tar_header(file: StoredFile, size: int) -> bytes:
    header = tarfile.TarInfo(file.path)
    header.size = size
    header.mtime = int(file.at.timestamp())
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
