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

from runs.source import archive_tar, archive_zip
from runs.source.archive_listing import ArchiveMember, UnpackMeter, damaged, too_large
from runs.source.paths import errors_in, shown
from runs.source.readers import Readable
from workspace.platform.errors import FieldError, Invalid

ERRORS_SHOWN = 50
MAX_FILES = 100_000


class ArchiveKind(StrEnum):
    ZIP = "a .zip archive"
    TAR_GZ = "a .tar.gz archive"
    TAR = "a .tar archive"


SUFFIXES = {
    ".zip": ArchiveKind.ZIP,
    ".tar.gz": ArchiveKind.TAR_GZ,
    ".tgz": ArchiveKind.TAR_GZ,
    ".tar": ArchiveKind.TAR,
}
OTHER_FORMATS = {
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}


@dataclass(frozen=True)
class Archive:
    """What an archive lists. Only those of its members that were checked may be asked for."""

    kind: ArchiveKind
    members: tuple[ArchiveMember, ...]
    folders: tuple[str, ...]
    reader: Callable[[Collection[str]], Iterator[tuple[ArchiveMember, Readable]]]

    def check(
        self, is_ignored: Callable[[str], bool] = lambda path: False, *, way_out: str = ""
    ) -> None:
        """Raise Invalid, naming every entry that cannot be used, or TooLarge.

        What is ignored takes no part; a folder's path ends with a slash for that question.
        `way_out` is said after what is wrong.
        """
        members = [member for member in self.members if not is_ignored(member.path)]
        if len(members) > MAX_FILES:
            raise too_large(f"It has more than {MAX_FILES:,} files. {way_out}".rstrip())
        folders = [folder for folder in self.folders if not is_ignored(f"{folder}/")]
        unusable = [member for member in members if member.problem]
        errors = [FieldError(shown(member.path), member.problem) for member in unusable]
        errors += errors_in(
            [member.path for member in members if not member.problem], folders=folders
        )
        if errors:
            raise _unusable(errors, way_out)

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[ArchiveMember, Readable]]:
        """Yield each wanted file with its content, to be read before the next one is asked for.

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
    """Read an archive's table of contents and check every entry of it. Raises Invalid, TooLarge."""
    archive = list_archive(file, filename, max_unpacked_bytes=max_unpacked_bytes)
    archive.check()
    return archive


def list_archive(file: IO[bytes], filename: str, *, max_unpacked_bytes: int) -> Archive:
    """Read an archive's table of contents, of which nothing has been checked yet.

    Raises Invalid where it cannot be read, TooLarge where it is larger than an archive may be.
    """
    size = file.seek(0, 2)
    kind = _kind_of(file, filename)
    meter = UnpackMeter(packed=size, limit=max_unpacked_bytes)
    with damage_in_words():
        listing, reader = (
            archive_zip.scan(file, size, meter)
            if kind == ArchiveKind.ZIP
            else archive_tar.scan(file, meter, compressed=kind == ArchiveKind.TAR_GZ)
        )
    return Archive(kind, tuple(listing.members), tuple(listing.folders), reader)


def _unusable(errors: list[FieldError], way_out: str) -> Invalid:
    first = errors[0]
    more = f" {len(errors) - 1} more entries cannot be used." if len(errors) > 1 else ""
    return Invalid(
        f"The archive cannot be used: {first.field}: {first.message}{more} {way_out}".rstrip(),
        errors=[
            FieldError("source", f"{error.field}: {error.message}")
            for error in errors[:ERRORS_SHOWN]
        ],
    )


def _kind_of(file: IO[bytes], filename: str) -> ArchiveKind:
    """Return what a file is by its first bytes, and refuse a name that says otherwise."""
    file.seek(0)
    start = file.read(512)
    name = shown(filename) or "The file"
    if not start:
        raise damaged(f"{name} is empty.")
    is_tar = archive_tar.begins(start)  # which begins with the name of its first file
    for magic, other in OTHER_FORMATS.items():
        if start.startswith(magic) and not is_tar:
            raise damaged(f"{name} is in the format {other}: send a .zip or a .tar.gz.")
    named = next((SUFFIXES[end] for end in SUFFIXES if filename.lower().endswith(end)), None)
    if start.startswith((b"PK\3\4", b"PK\5\6", b"PK\7\x08")):
        found = ArchiveKind.ZIP
    elif start.startswith(b"\x1f\x8b"):
        found = ArchiveKind.TAR_GZ
    elif is_tar:
        found = ArchiveKind.TAR
    elif named:
        raise damaged(f"{name} is named as {named}, but does not begin as one: it is damaged.")
    else:
        raise damaged(f"{name} is no archive: send a .zip or a .tar.gz.")
    if named and named != found:
        raise damaged(f"{name} is named as {named}, but is {found}: rename it.")
    return found


def common_folder(paths: Collection[str]) -> str:
    """Return the one top folder that all files lie under, with its slash, or nothing."""
    tops = {path.partition("/")[0] for path in paths}
    if len(tops) == 1 and all("/" in path for path in paths):
        return f"{tops.pop()}/"
    return ""
