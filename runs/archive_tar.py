"""Read a tar file strictly, as a stream, plain or compressed by gzip.

Python's tarfile is not used: it takes sizes below zero, and holds extended headers of any size in
memory.
"""

import gzip
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import IO

from runs.archive_listing import Listing, Member, Meter, damaged
from runs.blobs import Readable
from runs.source_paths import shown
from workspace.models import MEBIBYTE

BLOCK = 512
PIECE = 256 * 1024
MAX_HEADER_BYTES = MEBIBYTE
MAX_SIZE = 1 << 62
REGULAR = {"0", "\0", "7"}
FOLDER = "5"
LONG_NAME, LONG_LINK = "L", "K"
EXTENDED, GLOBAL_EXTENDED = "x", "g"
REFUSED = {
    "1": "a hard link",
    "2": "a link",
    "3": "a device",
    "4": "a device",
    "6": "a pipe",
    "S": "a sparse file",
}
# What such an entry gives as its size is not the number of bytes that follow.
WITHOUT_BYTES = {"1", "2", "3", "4", "5", "6"}

Content = Iterator[tuple[Member, Readable]]


def scan(
    file: IO[bytes], meter: Meter, *, compressed: bool
) -> tuple[Listing, Callable[[Collection[str]], Content]]:
    """Give what the archive holds, having read it once, and a reader of the contents."""
    listing = Listing()
    for entry, content in _entries(_Stream(file, meter, compressed=compressed)):
        listing.count_entry()
        content.drain()
        if entry.kind in REGULAR and not entry.is_sparse:
            listing.files.append(Member(entry.path, entry.size))
        elif entry.kind == FOLDER:
            if entry.path:
                listing.folders.append(entry.path)
        else:
            what = REFUSED["S"] if entry.is_sparse else REFUSED.get(entry.kind, "of another kind")
            listing.refuse(entry.path, f"it is {what}; only files and folders may be in.")

    def contents(wanted: Collection[str]) -> Content:
        again = Meter(meter.packed, meter.limit)
        for entry, content in _entries(_Stream(file, again, compressed=compressed)):
            if entry.kind in REGULAR and entry.path in wanted:
                yield Member(entry.path, entry.size), content
            content.drain()

    return listing, contents


def begins(start: bytes) -> bool:
    """Say whether a file that starts with these bytes may be a tar."""
    return len(start) >= BLOCK and (_checksum_fits(start[:BLOCK]) or not any(start[:BLOCK]))


class _Stream:
    """The unpacked bytes of the archive, counted as they come out."""

    def __init__(self, file: IO[bytes], meter: Meter, *, compressed: bool) -> None:
        file.seek(0)
        self._file: Readable = gzip.GzipFile(fileobj=file) if compressed else file
        self._meter = meter

    def read(self, size: int, /) -> bytes:
        data = self._file.read(size)
        self._meter.add(len(data))
        return data

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) < size:
            raise EOFError
        return data


@dataclass(frozen=True)
class _Entry:
    path: str
    kind: str
    size: int
    is_sparse: bool


class _Content:
    """The bytes of one entry, to be read before the next header."""

    def __init__(self, stream: _Stream, size: int) -> None:
        self._stream = stream
        self._left = size
        self._padding = -size % BLOCK

    def read(self, size: int, /) -> bytes:
        data = self._stream.exactly(min(size, self._left))
        self._left -= len(data)
        return data

    def drain(self) -> None:
        while self.read(PIECE):
            pass
        self._stream.exactly(self._padding)
        self._padding = 0


def _entries(stream: _Stream) -> Iterator[tuple[_Entry, _Content]]:
    extended: dict[str, str] = {}
    everywhere: dict[str, str] = {}
    long_name = ""
    while any(header := stream.exactly(BLOCK)):
        if not _checksum_fits(header):
            raise damaged("A header's checksum does not fit: it is damaged, or no tar archive.")
        kind = header[156:157].decode("latin-1")
        size = _number(header[124:136])
        if kind in (EXTENDED, GLOBAL_EXTENDED, LONG_NAME, LONG_LINK):
            if size > MAX_HEADER_BYTES:
                raise damaged("It has an extended header of more than 1 MB.")
            data = stream.exactly(size)
            stream.exactly(-size % BLOCK)
            if kind == EXTENDED:
                extended = _records(data)
            elif kind == GLOBAL_EXTENDED:
                everywhere |= _records(data)
            elif kind == LONG_NAME:
                long_name = _decoded(data.rstrip(b"\0"))
            continue
        attributes = everywhere | extended
        name = attributes.get("path") or long_name or _short_name(header)
        if "size" in attributes:
            size = _decimal(attributes["size"])
        if kind in WITHOUT_BYTES:
            size = 0
        is_folder = kind == FOLDER or (kind == "\0" and name.endswith("/"))
        is_sparse = kind == "S" or any(key.startswith("GNU.sparse.") for key in attributes)
        content = _Content(stream, size)
        yield _Entry(_clean(name), FOLDER if is_folder else kind, size, is_sparse), content
        extended, long_name = {}, ""
    if extended or long_name:
        raise damaged("It ends after an extended header, without the entry.")
    while rest := stream.read(PIECE):
        if any(rest):
            raise damaged("It has bytes after its end.")


def _checksum_fits(header: bytes) -> bool:
    field = header[148:156].strip(b" \0")
    if not field or not all(character in b"01234567" for character in field):
        return False
    return int(field, 8) == sum(header[:148]) + 8 * 0x20 + sum(header[156:])


def _number(field: bytes) -> int:
    """Read a number: octal text, or base 256 where the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40 or value > MAX_SIZE:
            raise damaged("An entry has a size below 0 or beyond measure.")
        return value
    text = field.strip(b" \0")
    if not all(character in b"01234567" for character in text):
        raise damaged("A header has a number that is not one.")
    return int(text, 8) if text else 0


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise damaged("An entry has a size below 0 or beyond measure.")
    return int(text)


def _records(data: bytes) -> dict[str, str]:
    """Read an extended header's records, each "LENGTH KEY=VALUE" and a line's end."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        length = data[at:space] if space > at else b""
        if not length.isdigit():
            raise damaged("An extended header is damaged.")
        end = at + int(length)
        if end > len(data) or end <= space + 1 or data[end - 1 : end] != b"\n":
            raise damaged("An extended header is damaged.")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise damaged("An extended header is damaged.")
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse."):
            records[key.decode("latin-1")] = _decoded(value)
        at = end
    return records


def _short_name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0]
    is_posix = header[257:263] == b"ustar\0"
    return _decoded(prefix + b"/" + name if is_posix and prefix else name)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        name = raw.decode("utf-8", "backslashreplace")
        raise damaged(f"{shown(name)}: its name is not UTF-8.") from None


def _clean(path: str) -> str:
    """Drop what says nothing: ./ at the start, / at the end; the root itself becomes empty."""
    while path.startswith("./"):
        path = path[2:]
    path = path.rstrip("/") if path.strip("/") else path
    return "" if path == "." else path
