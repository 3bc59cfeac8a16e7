"""Unpack the tar stream of a source: regular files and folders, below one folder and nothing else.

The standard library's tarfile is slow to import, and knows many things that must not happen here.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from runner.constants import COPY_BYTES

BLOCK = 512
MAX_NAME_BYTES = 65536

Read = Callable[[int], bytes]


class UnpackFailed(Exception):
    """The source that the web process sent cannot be unpacked here, however often it is sent."""


def unpack(read: Read, folder: str) -> None:
    """Write every file of a tar stream below `folder`; doing it again writes them again."""
    long_name, size_given = "", None
    while True:
        header = _exactly(read, BLOCK)
        if not header.strip(b"\0"):
            break
        kind, size = header[156:157], _number(header[124:136])
        if kind == b"L":
            long_name = _text(_padded(read, size).rstrip(b"\0"))
        elif kind == b"x":
            records = _records(_padded(read, size))
            long_name = records.get("path", long_name)
            size_given = int(records["size"]) if "size" in records else None
        elif kind == b"g":
            _padded(read, size)
        elif kind == b"5":
            _make_folder(_place(folder, long_name or _name(header)))
            long_name, size_given = "", None
        elif kind in (b"0", b"\0"):
            size = size if size_given is None else size_given
            place = _place(folder, long_name or _name(header))
            _write(read, size, place, executable=bool(_number(header[100:108]) & 0o100))
            long_name, size_given = "", None
        else:
            name = long_name or _name(header)
            raise UnpackFailed(f"the source holds something that is not a plain file: {name!r}")
    while read(COPY_BYTES):
        pass


def make_read_only(folder: str) -> None:
    """Take the right to write from the files below a folder."""
    for parent, _, names in os.walk(folder):
        for name in names:
            os.chmod(os.path.join(parent, name), 0o444)


def _write(read: Read, size: int, place: str, *, executable: bool) -> None:
    _make_folder(os.path.dirname(place))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(place, flags, 0o755 if executable else 0o644)
    except OSError as error:
        raise UnpackFailed(f"a file of the source cannot be written: {error}") from error
    try:
        left = size
        while left:
            part = read(min(left, COPY_BYTES))
            if not part:
                raise OSError("the source broke off")
            _append(file, part)
            left -= len(part)
    finally:
        os.close(file)
    _exactly(read, -size % BLOCK)


def _append(file: int, part: bytes) -> None:
    left = memoryview(part)
    try:
        while left:
            left = left[os.write(file, left) :]
    except OSError as error:
        raise UnpackFailed(f"a file of the source cannot be written: {error}") from error


def _make_folder(place: str) -> None:
    try:
        os.makedirs(place, exist_ok=True)
    except OSError as error:
        raise UnpackFailed(f"a folder of the source cannot be made: {error}") from error


def _place(folder: str, name: str) -> str:
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise UnpackFailed(f"the source has a path outside its folder: {name!r}")
    return os.path.join(folder, *parts)


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise UnpackFailed("the source is not a tar stream") from error


def _records(content: bytes) -> dict[str, str]:
    """Read the records of an extended header: each is "LENGTH KEY=VALUE" and a line's end."""
    records = {}
    while content:
        length = int(content.partition(b" ")[0])
        key, _, value = content[:length].partition(b" ")[2].rstrip(b"\n").partition(b"=")
        records[_text(key)] = _text(value)
        content = content[length:]
    return records


def _padded(read: Read, size: int) -> bytes:
    if size > MAX_NAME_BYTES:
        raise UnpackFailed("the source has a header that is too long")
    return _exactly(read, size + -size % BLOCK)[:size]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _exactly(read: Read, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = read(size - len(content))
        if not part:
            raise OSError("the source broke off")
        content += part
    return content
