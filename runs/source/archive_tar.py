"""Read a tar file strictly, as a stream, plain or compressed by gzip.

Python's tarfile is not used: it takes sizes below zero, and holds extended headers of any size in
memory.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import IO

from runs.source.archive_listing import (
    OWNER_MAY_EXECUTE,
    ArchiveListing,
    ArchiveMember,
    UnpackMeter,
    damaged,
    decoded_name,
)
from runs.source.gunzip import unpacked
from runs.source.readers import PIECE_BYTES, BoundedReader, Readable, drain, read_exactly
from workspace.sizes import MEGABYTE

BLOCK = 512
MAX_HEADER_BYTES = MEGABYTE
MAX_SIZE = 1 << 62
REGULAR = {"0", "\0", "7"}
FOLDER = "5"
# Of GNU tar: a folder with the list of its names (-g), and the label of the archive (-V).
LISTED_FOLDER, LABEL = "D", "V"
LONG_NAME, LONG_LINK = "L", "K"
EXTENDED, GLOBAL_EXTENDED = "x", "g"
SPARSE = "S"
OTHER_KINDS = {
    "1": "a hard link",
    "2": "a link",
    "3": "a device",
    "4": "a device",
    "6": "a pipe",
    SPARSE: "a sparse file",
}
SPARSE_NAME = "GNU.sparse.name"
ONLY_FILES = "only files and folders may be in."
FOLLOWED = "pack what it leads to: with tar's option -h, or --hard-dereference for hard links."
WITHOUT_HOLES = (
    "pack its holes as zeros: as a zip, with --no-read-sparse of bsdtar (the tar of macOS), or with"
    " GNU tar without -S."
)
# Where a header says that more blocks with the map of a sparse file follow; the place in those.
MORE_MAP, MORE_MAP_AGAIN = 482, 504
# What such an entry gives as its size is not the number of bytes that follow.
WITHOUT_BYTES = {"1", "2", "3", "4", "5", "6"}

Content = Iterator[tuple[ArchiveMember, Readable]]


def scan(
    file: IO[bytes], meter: UnpackMeter, *, compressed: bool
) -> tuple[ArchiveListing, Callable[[Collection[str]], Content]]:
    """Yield what the archive holds, having read it once, and a reader of the contents."""
    listing = ArchiveListing()
    for entry, _ in _entries(_Stream(file, meter, compressed=compressed)):
        if entry.kind == FOLDER and not entry.member.problem:
            listing.add_folder(entry.member.path)
        else:
            listing.add(entry.member)

    def contents(wanted: Collection[str]) -> Content:
        again = UnpackMeter(meter.packed, meter.limit)
        for entry, content in _entries(_Stream(file, again, compressed=compressed)):
            member = entry.member
            if entry.kind != FOLDER and not member.problem and member.path in wanted:
                yield member, content

    return listing, contents


def begins(start: bytes) -> bool:
    """Return whether a file that starts with these bytes may be a tar."""
    return len(start) >= BLOCK and (_checksum_fits(start[:BLOCK]) or not any(start[:BLOCK]))


class _Stream:
    """The unpacked bytes of the archive, counted as they come out."""

    def __init__(self, file: IO[bytes], meter: UnpackMeter, *, compressed: bool) -> None:
        file.seek(0)
        self._file: Readable = unpacked(file) if compressed else file
        self._meter = meter

    def read(self, size: int, /) -> bytes:
        data = self._file.read(size)
        self._meter.add(len(data))
        return data


@dataclass(frozen=True)
class _Entry:
    member: ArchiveMember
    kind: str


def _entries(stream: _Stream) -> Iterator[tuple[_Entry, BoundedReader]]:
    """Yield each entry with its bytes, which are passed over unless they are read."""
    extended: dict[str, bytes] = {}
    everywhere: dict[str, bytes] = {}
    long_name = b""
    while any(header := read_exactly(stream, BLOCK)):
        if not _checksum_fits(header):
            raise damaged("A header's checksum does not fit: it is damaged, or no tar archive.")
        kind = header[156:157].decode("latin-1")
        size = _number(header[124:136])
        if kind in (EXTENDED, GLOBAL_EXTENDED, LONG_NAME, LONG_LINK, LABEL):
            if size > MAX_HEADER_BYTES:
                raise damaged("It has an extended header of more than 1 MB.")
            data = read_exactly(stream, size)
            read_exactly(stream, -size % BLOCK)
            if kind == EXTENDED:
                extended = _records(data)
            elif kind == GLOBAL_EXTENDED:
                everywhere |= _records(data)
            elif kind == LONG_NAME:
                long_name = data.rstrip(b"\0")
            continue
        attributes = everywhere | extended
        raw_name = (
            attributes.get(SPARSE_NAME)
            or attributes.get("path")
            or long_name
            or _short_name(header)
        )
        if "size" in attributes:
            size = _decimal(attributes["size"])
        if kind in WITHOUT_BYTES:
            size = 0
        if kind == SPARSE:
            _skip_sparse_map(stream, header)
        if kind == LISTED_FOLDER or (kind == "\0" and raw_name.endswith(b"/")):
            kind = FOLDER
        elif any(key.startswith("GNU.sparse.") for key in attributes):
            kind = SPARSE
        content = BoundedReader(stream, size)
        yield _Entry(_member(raw_name, kind, size, _is_executable(header)), kind), content
        drain(content)
        read_exactly(stream, -size % BLOCK)
        extended, long_name = {}, b""
    if extended or long_name:
        raise damaged("It ends after an extended header, without the entry.")
    while rest := stream.read(PIECE_BYTES):
        if any(rest):
            raise damaged("It has bytes after its end.")


def _member(raw_name: bytes, kind: str, size: int, executable: bool) -> ArchiveMember:
    name, problem = decoded_name(raw_name)
    if kind not in REGULAR and kind != FOLDER:
        what = OTHER_KINDS.get(kind, "of another kind")
        ways_out = {SPARSE: WITHOUT_HOLES, "1": FOLLOWED, "2": FOLLOWED}
        problem = f"it is {what}; {ways_out.get(kind, ONLY_FILES)}"
    return ArchiveMember(_clean(name), size, problem, executable)


def _is_executable(header: bytes) -> bool:
    mode = header[100:108].strip(b" \0")
    is_octal = mode and all(character in b"01234567" for character in mode)
    return bool(is_octal and int(mode, 8) & OWNER_MAY_EXECUTE)


def _skip_sparse_map(stream: _Stream, header: bytes) -> None:
    follows = header[MORE_MAP]
    while follows:
        follows = read_exactly(stream, BLOCK)[MORE_MAP_AGAIN]


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


def _decimal(text: bytes) -> int:
    if not (text.isdigit() and len(text) < 19):
        raise damaged("An entry has a size below 0 or beyond measure.")
    return int(text)


def _records(data: bytes) -> dict[str, bytes]:
    """Read an extended header's records, each "LENGTH KEY=VALUE" and a line's end."""
    records: dict[str, bytes] = {}
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
            records[key.decode("latin-1")] = value
        at = end
    return records


def _short_name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0]
    is_posix = header[257:263] == b"ustar\0"
    return prefix + b"/" + name if is_posix and prefix else name


def _clean(path: str) -> str:
    """Drop what says nothing: ./ at the start, / at the end; the root itself becomes empty."""
    while path.startswith("./"):
        path = path[2:]
    path = path.rstrip("/") if path.strip("/") else path
    return "" if path == "." else path
