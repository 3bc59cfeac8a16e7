"""Files as one .zip or .tar, made while it is sent."""

import io
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from typing import IO, cast

from typing_extensions import Buffer

from runs.files.store import RunFileOnDisk
from workspace.platform.streaming import CHUNK_BYTES


def zip_of_files(files: Iterable[RunFileOnDisk]) -> Iterator[bytes]:
    """Yield files as one .zip, piece by piece."""
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
                while piece := source.read(CHUNK_BYTES):
                    target.write(piece)
                    yield outbox.take()
    yield outbox.take()


def tar_of_files(files: Iterable[RunFileOnDisk]) -> Iterator[bytes]:
    """Yield files as one .tar, piece by piece."""
    for file in files:
        with file.location.open("rb") as source:
            size = file.location.stat().st_size
            yield _tar_header(file, size)
            sent = 0
            # A log may grow while it is read; the header has promised `size` bytes.
            while piece := source.read(min(CHUNK_BYTES, size - sent)):
                sent += len(piece)
                yield piece
            yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tar_header(file: RunFileOnDisk, size: int) -> bytes:
    header = tarfile.TarInfo(file.path)
    header.size = size
    header.mtime = int(file.at.timestamp())
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


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
