"""Ship files: those that grow under logs/ piece by piece, those under outputs/ when they rest."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from runs.runner.line import Line
from runs.runner.wire import Refused, Unreachable

EVERY_SECONDS = 1.0
QUIET_SECONDS = 2.0
CHUNK_BYTES = 1 << 20
HASH_BYTES = 1 << 20
OFFERED_AT_ONCE = 200
MARK_BYTES = 64
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")

Version = tuple[int, int, int]
Note = Callable[[str], None]


class Found:
    """A regular file as it was seen; `path` is relative to the working directory."""

    __slots__ = ("path", "place", "rested_since", "size", "version")

    def __init__(self, path: str, place: str, status: os.stat_result) -> None:
        self.path = path
        self.place = place
        self.size = status.st_size
        self.rested_since = status.st_mtime
        self.version: Version = (status.st_ino, status.st_size, status.st_mtime_ns)


class Growth:
    """How far a growing file has been sent, and what its sent part starts and ends with."""

    __slots__ = ("first", "inode", "last", "sent", "version")

    def __init__(self, inode: int, sent: int) -> None:
        self.inode = inode
        self.sent = sent
        self.first = self.last = b""
        self.version: Version | None = None

    def continues_in(self, file: int, found: Found) -> bool:
        """Say whether what was sent is still the start of the file."""
        if self.inode != found.version[0] or found.size < self.sent:
            return False
        at_start = os.pread(file, len(self.first), 0)
        at_end = os.pread(file, len(self.last), self.sent - len(self.last))
        return at_start == self.first and at_end == self.last

    def remember(self, file: int, sent: int) -> None:
        size = min(sent, MARK_BYTES)
        self.first = os.pread(file, size, 0)
        self.last = os.pread(file, size, sent - size)
        self.sent = sent


class FileShipper(threading.Thread):
    """Looks at the working directory every second, and once more when the program has ended."""

    def __init__(
        self,
        line: Line,
        work: str,
        *,
        watch: list[str],
        outputs: bool,
        is_resumed: bool,
        note: Note,
    ) -> None:
        super().__init__(name="files", daemon=True)
        self._line = line
        self._wire = line.open()
        self._work = work
        self._watch = watch
        self._outputs = outputs
        self._is_resumed = is_resumed
        self._note = note
        self._over = threading.Event()
        self._growing: dict[str, Growth] = {}
        self._stored: dict[str, Version] = {}
        self._noted: set[str] = set()
        self.problem: Exception | None = None

    def end(self) -> None:
        """Say that the program has ended."""
        self._over.set()

    def finish(self) -> None:
        """Return when all is stored; the program must have ended."""
        self._over.set()
        self.join()
        if self.problem is not None:
            raise self.problem

    def run(self) -> None:
        try:
            is_over = False
            while not is_over:
                is_over = self._over.wait(EVERY_SECONDS)
                self._ship_growing()
                if self._outputs:
                    self._ship_outputs(quiet_seconds=0.0 if is_over else QUIET_SECONDS)
            self._wire.close()
        except Exception as problem:
            self.problem = problem

    def _ship_growing(self) -> None:
        for folder in self._watch:
            for found in files_below(self._work, folder):
                growth = self._growing.get(found.path)
                if growth is None or growth.version != found.version:
                    self._with_care(found, partial(self._ship_growth, found))

    def _ship_growth(self, found: Found) -> None:
        file = os.open(found.place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            growth = self._growing.get(found.path)
            if growth is None:
                growth = Growth(found.version[0], 0)
                if self._is_resumed:
                    growth.sent = self._send_growth(found, 0, b"", is_new=False)
            is_new = not growth.continues_in(file, found)
            if is_new:
                growth = Growth(found.version[0], 0)
            while growth.sent < found.size or is_new:
                chunk = os.pread(file, min(CHUNK_BYTES, found.size - growth.sent), growth.sent)
                if not chunk and not is_new:
                    break
                growth.remember(file, self._send_growth(found, growth.sent, chunk, is_new=is_new))
                is_new = False
            growth.version = found.version
            self._growing[found.path] = growth
        finally:
            os.close(file)

    def _send_growth(self, found: Found, offset: int, chunk: bytes, *, is_new: bool) -> int:
        query = f"file?path={quoted(found.path)}&offset={offset}{'&restart=1' if is_new else ''}"
        answer = self._line.insist(lambda: self._wire.call("POST", query, chunk))
        return int(answer["size"])

    def _ship_outputs(self, *, quiet_seconds: float) -> None:
        rested_before = time.time() - quiet_seconds
        changed = [
            found
            for found in files_below(self._work, "outputs")
            if self._stored.get(found.path) != found.version
            and (not quiet_seconds or found.rested_since <= rested_before)
        ]
        for start in range(0, len(changed), OFFERED_AT_ONCE):
            self._offer(changed[start : start + OFFERED_AT_ONCE])

    def _offer(self, changed: list[Found]) -> None:
        """Send of some files those that the web process has not got."""
        offers: dict[str, tuple[Found, str]] = {}
        for found in changed:
            digest = self._with_care(found, partial(digest_of, found))
            if digest:
                offers[found.path] = (found, digest)
        if not offers:
            return
        listed = [
            {"path": path, "size": found.size, "sha256": digest}
            for path, (found, digest) in offers.items()
        ]
        answer = self._line.call(self._wire, "POST", "outputs", {"files": listed})
        missing = set(answer["missing"])
        for path, (found, digest) in offers.items():
            if path not in missing or self._with_care(found, partial(self._upload, found, digest)):
                self._stored[path] = found.version

    def _upload(self, found: Found, digest: str) -> bool:
        """Send a whole file; False when it changed meanwhile, so that the next round sends it."""
        query = f"output?path={quoted(found.path)}&sha256={digest}&size={found.size}"
        with open(found.place, "rb") as file:

            def attempt() -> bool:
                try:
                    self._wire.upload(query, file, found.size)
                except Unreachable:
                    if not is_unchanged(found):
                        return False
                    raise
                return True

            return self._line.insist(attempt)

    def _with_care(self, found: Found, action: Callable[[], Any]) -> Any:
        """Do something with a file that may vanish, or that the web process may refuse."""
        try:
            found.path.encode()
            return action()
        except UnicodeEncodeError:
            self._leave_out(found, "its name is not UTF-8")
        except Refused as refused:
            if is_unchanged(found):
                self._leave_out(found, str(refused))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._leave_out(found, str(error))
        return None

    def _leave_out(self, found: Found, reason: str) -> None:
        """Say once in the process's own log that a file is not kept, until it changes."""
        self._stored[found.path] = found.version
        growth = self._growing.setdefault(found.path, Growth(found.version[0], 0))
        growth.version = found.version
        if found.path not in self._noted:
            self._noted.add(found.path)
            name = found.path.encode("utf-8", "backslashreplace").decode()
            self._note(f"{name} was not kept: {reason}")


def quoted(path: str) -> str:
    """Write a path for use in a query."""
    return "".join(chr(byte) if byte in UNRESERVED else f"%{byte:02X}" for byte in path.encode())


def files_below(work: str, folder: str) -> Iterator[Found]:
    """Find the regular files below a folder; links are not followed, wherever they point."""
    for parent, folders, names in os.walk(os.path.join(work, folder)):
        folders.sort()
        for name in sorted(names):
            place = os.path.join(parent, name)
            try:
                status = os.lstat(place)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield Found(os.path.relpath(place, work), place, status)


def digest_of(found: Found) -> str:
    """Give the SHA-256 of a file, or nothing when it changed meanwhile."""
    import hashlib

    summed = hashlib.sha256()
    with open(found.place, "rb", buffering=0) as file:
        while chunk := file.read(HASH_BYTES):
            summed.update(chunk)
    return summed.hexdigest() if is_unchanged(found) else ""


def is_unchanged(found: Found) -> bool:
    try:
        return Found(found.path, found.place, os.lstat(found.place)).version == found.version
    except FileNotFoundError:
        return False
