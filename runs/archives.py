"""Read .zip, .tar and .tar.gz files that may be hostile: regular files only, all counted.

Nothing is ever unpacked to a path that an archive names: whoever asks gets the names, checked, and
then the contents as streams.
"""

import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from gzip import BadGzipFile
from typing import IO

from runs import archive_tar, archive_zip
from runs.archive_listing import Member, Meter, damaged
from runs.blobs import Readable
from runs.source_paths import errors_in, shown
from workspace.errors import FieldError, Invalid

ERRORS_SHOWN = 50


class Kind(StrEnum):
    ZIP = "a .zip archive"
    TAR_GZ = "a .tar.gz archive"
    TAR = "a .tar archive"


SUFFIXES = {".zip": Kind.ZIP, ".tar.gz": Kind.TAR_GZ, ".tgz": Kind.TAR_GZ, ".tar": Kind.TAR}
OTHER_FORMATS = {
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}


@dataclass(frozen=True)
class Archive:
    """An archive whose names have all been checked."""

    kind: Kind
    members: tuple[Member, ...]
    reader: Callable[[Collection[str]], Iterator[tuple[Member, Readable]]]

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[Member, Readable]]:
        """Give each wanted file with its content, to be read before the next one is asked for.

        Raises Invalid where the content is not what the archive says, TooLarge where it is more.
        """
        with damage_in_words():
            for member, content in self.reader(wanted):
                yield member, _InWords(content)


@contextmanager
def damage_in_words() -> Iterator[None]:
    """Turn what decompressors raise for damaged data into words."""
    try:
        yield
    except EOFError:
        raise damaged("It ends too early: it was cut off.") from None
    except (zlib.error, BadGzipFile) as error:
        raise damaged(f"It is damaged ({error}).") from None


@dataclass(frozen=True)
class _InWords:
    """A content whose damage is told in words to whoever reads it."""

    content: Readable

    def read(self, size: int, /) -> bytes:
        with damage_in_words():
            return self.content.read(size)


def open_archive(file: IO[bytes], filename: str, *, max_unpacked_bytes: int) -> Archive:
    """Read an archive's table of contents and check every entry of it.

    Raises Invalid, naming every entry that cannot be used, or TooLarge.
    """
    size = file.seek(0, 2)
    kind = _kind_of(file, filename)
    meter = Meter(packed=size, limit=max_unpacked_bytes)
    with damage_in_words():
        listing, reader = (
            archive_zip.scan(file, size, meter)
            if kind == Kind.ZIP
            else archive_tar.scan(file, meter, compressed=kind == Kind.TAR_GZ)
        )
    paths = [member.path for member in listing.files]
    errors = [*listing.errors, *errors_in(paths, folders=listing.folders)]
    if errors:
        first = errors[0]
        more = f" {len(errors) - 1} more entries cannot be used." if len(errors) > 1 else ""
        raise Invalid(
            f"The archive cannot be used: {first.field}: {first.message}{more}",
            errors=[
                FieldError("source", f"{error.field}: {error.message}")
                for error in errors[:ERRORS_SHOWN]
            ],
        )
    return Archive(kind, tuple(listing.files), reader)


def _kind_of(file: IO[bytes], filename: str) -> Kind:
    """Tell what a file is by its first bytes, and refuse a name that says otherwise."""
    file.seek(0)
    start = file.read(512)
    name = shown(filename) or "The file"
    if not start:
        raise damaged(f"{name} is empty.")
    for magic, other in OTHER_FORMATS.items():
        if start.startswith(magic):
            raise damaged(f"{name} is in the format {other}: send a .zip or a .tar.gz.")
    named = next((SUFFIXES[end] for end in SUFFIXES if filename.lower().endswith(end)), None)
    if start.startswith((b"PK\3\4", b"PK\5\6", b"PK\7\x08")):
        found = Kind.ZIP
    elif start.startswith(b"\x1f\x8b"):
        found = Kind.TAR_GZ
    elif archive_tar.begins(start):
        found = Kind.TAR
    elif named:
        raise damaged(f"{name} is named as {named}, but does not begin as one: it is damaged.")
    else:
        raise damaged(f"{name} is no archive: send a .zip or a .tar.gz.")
    if named and named != found:
        raise damaged(f"{name} is named as {named}, but is {found}: rename it.")
    return found


def common_folder(paths: Collection[str]) -> str:
    """Give the one top folder that all files lie under, with its slash, or nothing."""
    tops = {path.partition("/")[0] for path in paths}
    if len(tops) == 1 and all("/" in path for path in paths):
        return f"{tops.pop()}/"
    return ""
