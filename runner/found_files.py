"""Regular files below a folder, as they are found at one moment."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from runner.constants import COPY_BYTES

UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")
MAX_SHOWN = 200

FileVersion = tuple[int, int, int]
Skipped = Callable[[str, str], None]


class FoundFile:
    """A regular file as it was seen; `path` is relative to the working directory."""

    __slots__ = ("path", "place", "rested_since", "size", "version")

    def __init__(self, path: str, place: str, status: os.stat_result) -> None:
        self.path = path
        self.place = place
        self.size = status.st_size
        self.rested_since = status.st_mtime
        self.version: FileVersion = (status.st_ino, status.st_size, status.st_mtime_ns)

    def is_unchanged(self) -> bool:
        try:
            return FoundFile(self.path, self.place, os.lstat(self.place)).version == self.version
        except (FileNotFoundError, NotADirectoryError):
            return False

    def digest(self) -> str:
        """Return the SHA-256 of its content, or nothing when it changed meanwhile."""
        import hashlib

        summed, left = hashlib.sha256(), self.size
        with open(open_regular(self.place), "rb", buffering=0) as file:
            while left and (chunk := file.read(min(left, COPY_BYTES))):
                summed.update(chunk)
                left -= len(chunk)
        return summed.hexdigest() if self.is_unchanged() else ""


def open_regular(path: str) -> int:
    """Open a regular file to read. Raises OSError, and waits for nothing, where it is another kind.

    A program may put a pipe, a device or a link in the place of a file after it was listed.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a regular file")
    return descriptor


def files_below(work: str, folder: str, skipped: Skipped) -> Iterator[FoundFile]:
    """Find the regular files below a folder; links are not followed, wherever they point.

    What cannot be looked at is `skipped`, and all else is found.
    """
    folders = [folder]
    while folders:
        parent = folders.pop()
        below = []
        for name, status in _entries(os.path.join(work, parent), parent, skipped):
            path = os.path.join(parent, name)
            if stat.S_ISDIR(status.st_mode):
                below.append(path)
            elif stat.S_ISREG(status.st_mode):
                yield FoundFile(path, os.path.join(work, path), status)
        folders += reversed(below)


def _entries(place: str, folder: str, skipped: Skipped) -> list[tuple[str, os.stat_result]]:
    """List what is in a folder, unless a link or a file has taken its place."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    found = []
    try:
        descriptor = os.open(place, flags)
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        skipped(folder, "it is a link or a file, and no directory")
        return []
    except OSError as error:
        skipped(folder, reason_of(error))
        return []
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                try:
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    skipped(os.path.join(folder, entry.name), reason_of(error))
    except OSError as error:
        skipped(folder, reason_of(error))
    finally:
        os.close(descriptor)
    return sorted(found, key=lambda each: each[0])


def reason_of(error: OSError) -> str:
    """Return what was wrong with a file, without the path that whoever reads it knows."""
    return error.strerror or str(error)


def quoted(path: str) -> str:
    """Write a path for use in a query."""
    return "".join(chr(byte) if byte in UNRESERVED else f"%{byte:02X}" for byte in path.encode())


def shown(path: str) -> str:
    """Return a path as a line of a log may have it: printable, and of bearable length."""
    printable = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in path[:MAX_SHOWN]
    )
    return printable + ("..." if len(path) > MAX_SHOWN else "")
