"""Unpack gzip files that may be hostile: of many members, or with headers of any length.

Python's gzip reads the header of each member byte by byte.
"""

import io
import zlib
from gzip import BadGzipFile
from typing import IO, Any

from runs.source.archive_listing import too_large
from runs.source.readers import PIECE_BYTES

MAX_MEMBERS = 100_000
WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS


def unpacked(file: IO[bytes]) -> io.BufferedReader:
    """Return what a gzip file holds, as a stream.

    Reading raises EOFError where it was cut off, and zlib's or gzip's error where it is damaged.
    """
    return io.BufferedReader(_Members(file), PIECE_BYTES)


class _Members(io.RawIOBase):
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._packed = b""
        self._inflate = zlib.decompressobj(WITH_GZIP_HEADER)
        self._count = 1

    def readable(self) -> bool:
        return True

    def readinto(self, place: Any, /) -> int:
        view = memoryview(place)
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        """Return the next bytes, and none at the end, after which zeros may follow."""
        while True:
            packed = self._packed or self._file.read(PIECE_BYTES)
            if self._inflate.eof:
                if not packed:
                    return b""
                self._packed = packed.lstrip(b"\0")
                if self._packed:
                    self._begin_member()
                continue
            data = self._inflate.decompress(packed, size)
            self._packed = self._inflate.unconsumed_tail or self._inflate.unused_data
            if data:
                return data
            if not packed:
                raise EOFError

    def _begin_member(self) -> None:
        if len(self._packed) < 2:
            self._packed += self._file.read(1)
        if not self._packed.startswith(b"\x1f\x8b"):
            raise BadGzipFile("bytes that are no gzip follow it")
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise too_large(f"It has more than {MAX_MEMBERS:,} gzip members. Pack it anew.")
        self._inflate = zlib.decompressobj(WITH_GZIP_HEADER)
