"""The log of a process: a file that only grows. Its size is the truth; all else follows from it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from django.conf import settings

from runs.logs.index import BLOCK, LineIndex
from runs.logs.masking import LogMask
from runs.logs.text import LINE_LIMIT, shown, shown_long, unfinished_character
from workspace.models import Environment

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
SCAN_BYTES = 64 * 1024 * 1024
SCAN_WINDOW = 1024 * 1024
EXCERPT = 400


@dataclass(frozen=True)
class Chunk:
    """Text of a log from `offset` on; `next` is where the following chunk starts."""

    offset: int
    next: int
    text: str
    has_more: bool


@dataclass(frozen=True)
class Lines:
    """Some lines of a log; `size` is where the bytes after them start.

    `is_complete` says whether the last line of the log has its newline.
    """

    first: int
    total: int
    lines: list[str]
    size: int
    is_complete: bool


@dataclass(frozen=True)
class Match:
    line: int
    text: str


@dataclass(frozen=True)
class Matches:
    """Lines that hold a text; the search went up to `scanned_to` and may go on from there."""

    matches: list[Match]
    scanned_to: int
    is_done: bool


class Log(Protocol):
    """What pages read of a log, be it of one process or merged from all of a group."""

    def lines(self, first: int, count: int) -> Lines: ...

    def search(self, query: str, first: int, limit: int) -> Matches: ...

    def chunk(self, offset: int, limit: int, *, is_final: bool = False) -> Chunk | None: ...


@dataclass(frozen=True)
class LogFile:
    """A log on disk. One that may be written anew has no sidecar for its line index."""

    path: Path
    keeps_index: bool = True

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def append(
        self, offset: int, data: bytes, mask: LogMask | None = None, *, is_final: bool = False
    ) -> int:
        """Store what is new of `data`, which starts at `offset` of the log; return the log's size.

        What is held already is left out; data beyond the end is left to be sent again from there,
        and so is an end that may be the beginning of a secret, unless the log ends with it.
        """
        with self._locked() as log:
            size = os.fstat(log).st_size
            rest = memoryview(data)[size - offset :] if offset <= size else memoryview(b"")
            if mask is not None:
                rest = memoryview(mask.masked(bytes(rest), is_final=is_final))
            grown = _write_at(log, size, rest)
            if self.keeps_index and grown // BLOCK > size // BLOCK:
                LineIndex(log, grown, self._sidecar())
            return grown

    def growth(self, offset: int, data: bytes) -> int:
        """Return how many bytes of `data` would be new."""
        size = self.size()
        return max(offset + len(data) - size, 0) if offset <= size else 0

    def close(self, note: str) -> None:
        """End the log with a line. Whoever appends asks before whether the log is closed."""
        with self._locked() as log:
            if self.is_closed():
                return
            size = os.fstat(log).st_size
            is_whole = size == 0 or os.pread(log, 1, size - 1) == b"\n"
            _write_at(log, size, memoryview(f"{'' if is_whole else chr(10)}{note}\n".encode()))
            self._mark().touch()

    def is_closed(self) -> bool:
        return self._mark().exists()

    def note_growth(self) -> None:
        """Note that a closed log would have grown, for whoever watches whether it does."""
        os.utime(self.path)

    def read(self, offset: int, limit: int) -> bytes:
        try:
            with self.path.open("rb") as log:
                return os.pread(log.fileno(), limit, offset)
        except FileNotFoundError:
            return b""

    def chunk(self, offset: int, limit: int, *, is_final: bool = False) -> Chunk | None:
        """Return the text from `offset` on; never half a character unless the log has ended."""
        data = self.read(offset, limit)
        size = self.size()
        at_end = offset + len(data) >= size
        if not (at_end and is_final):
            data = data[: len(data) - unfinished_character(data)]
        if not data:
            return None
        return Chunk(offset, offset + len(data), data.decode("utf-8", "replace"), not at_end)

    def lines(self, first: int, count: int) -> Lines:
        """Return up to `count` lines from `first` on, or the last ones when `first` is negative.

        Very long lines are cut, and an answer that grows too large ends early.
        """
        with self._opened() as (log, size):
            index = LineIndex(log, size, self._sidecar())
            newlines = index.newlines()
            ends_whole = size == 0 or os.pread(log, 1, size - 1) == b"\n"
            total = newlines + (not ends_whole)
            first = max(total + first, 0) if first < 0 else min(first, total)
            found: list[str] = []
            room = MAX_RESPONSE_BYTES
            position = index.line_start(first)
            while position is not None and position < size and len(found) < count and room > 0:
                data = os.pread(log, min(BLOCK, size - position), position)
                whole, newline, rest = data.rpartition(b"\n")
                if newline:
                    taken = whole.split(b"\n", count - len(found))[: count - len(found)]
                    position += sum(map(len, taken)) + len(taken)
                elif position + len(data) == size:
                    taken, position = [rest], size
                else:
                    end = index.line_start(first + len(found) + 1)
                    taken = []
                    found.append(_long_line(log, position, size if end is None else end - 1))
                    position = end
                found += map(shown, taken)
                room -= sum(map(len, taken)) if taken else LINE_LIMIT
            return Lines(first, total, found, size, ends_whole)

    def tail(self, count: int) -> list[str]:
        return self.lines(-count, count).lines

    def search(self, query: str, first: int, limit: int) -> Matches:
        """Find lines that hold `query`, whatever the case of its ASCII letters, from `first` on.

        It ends at `limit` matches or after some tens of megabytes. Of a line that is longer than a
        megabyte only the start is looked at.
        """
        needle = query.encode().lower()
        matches: list[Match] = []
        with self._opened() as (log, size):
            index = LineIndex(log, size, self._sidecar())
            line = first
            position = index.line_start(first)
            scanned = 0
            while position is not None and position < size:
                if scanned >= SCAN_BYTES:
                    return Matches(matches, line, is_done=False)
                data = os.pread(log, min(SCAN_WINDOW, size - position), position)
                end = data.rfind(b"\n") + 1
                is_long = not end and position + len(data) < size
                end = end or len(data)
                for match in matching_lines(data[:end], needle, line):
                    matches.append(match)
                    if len(matches) == limit:
                        return Matches(matches, match.line + 1, is_done=False)
                scanned += end
                line += 1 if is_long else data.count(b"\n", 0, end)
                position = index.line_start(line) if is_long else position + end
            total = index.newlines() + (size > 0 and os.pread(log, 1, size - 1) != b"\n")
            return Matches(matches, total, is_done=True)

    def _sidecar(self) -> Path | None:
        return self.path.with_name(f"{self.path.name}.idx") if self.keeps_index else None

    def _mark(self) -> Path:
        return self.path.with_name(f"{self.path.name}.closed")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the log to write, alone."""
        log = _open_to_write(self.path)
        try:
            fcntl.flock(log, fcntl.LOCK_EX)
            yield log
        finally:
            os.close(log)

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, int]]:
        """Open the log up to its last whole character."""
        try:
            log = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            log = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(log).st_size
            start = max(size - 4, 0)
            yield log, size - unfinished_character(os.pread(log, size - start, start))
        finally:
            os.close(log)


def matching_lines(data: bytes, needle: bytes, line: int) -> Iterator[Match]:
    """Yield the lines of `data` (its first is number `line`) with the lower-case `needle`."""
    lowered = data.lower()
    counted = 0
    at = lowered.find(needle)
    while at >= 0:
        start = lowered.rfind(b"\n", 0, at) + 1
        end = lowered.find(b"\n", at)
        end = len(data) if end < 0 else end
        line += lowered.count(b"\n", counted, start)
        counted = start
        begin = max(start, at - EXCERPT // 4)
        yield Match(line, data[begin : min(end, begin + EXCERPT)].decode("utf-8", "replace"))
        at = lowered.find(needle, end)


def folder_of(label: str) -> Path:
    """Return the folder that keeps what the processes of a group wrote."""
    folder: Path = settings.TRAINYARD_HOME / "groups" / label
    return folder


def log_of(label: str, process: str) -> LogFile:
    """Return the log of a process by the label of its group and its name, such as worker-0."""
    return LogFile(folder_of(label) / f"{process}.log")


def rank_log(number: int) -> str:
    """Name the log of a rank of an MPI run."""
    return f"rank-{number}"


def build_log_of(environment: Environment) -> LogFile:
    folder: Path = settings.TRAINYARD_HOME / "environments"
    return LogFile(folder / f"{environment.digest}.log", keeps_index=False)


def _long_line(log: int, start: int, end: int) -> str:
    head = os.pread(log, LINE_LIMIT, start)
    return shown_long(head, os.pread(log, LINE_LIMIT, end - LINE_LIMIT), end - start)


def _write_at(log: int, at: int, data: memoryview) -> int:
    """Write all of `data`; return where it ends."""
    while data:
        written = os.pwrite(log, data, at)
        data = data[written:]
        at += written
    return at


def _open_to_write(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o640)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o640)
