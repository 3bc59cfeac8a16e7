"""The log of a process: a file that only grows. Its size is the truth; all else follows from it."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

from django.conf import settings

from runs.logs.index import BLOCK, LineIndex
from runs.logs.masking import LogMask
from runs.logs.screen import VERTICAL, Stretch
from runs.logs.text import LINE_LIMIT, LONGEST_UNFINISHED, shown, shown_long, unfinished
from workspace.models import Environment

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
SCAN_BYTES = 64 * 1024 * 1024
SCAN_WINDOW = 1024 * 1024
DRAWN_COST = 8  # of a block with lines that were drawn anew, compared to a search in plain ones
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

    `is_complete` says whether what comes next begins a new line.
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

    def redrawn(self, offset: int, end: int) -> Lines | None: ...


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
        """Return the text from `offset` on.

        It never ends in half a character or half a terminal's sequence unless the log has ended.
        """
        data = self.read(offset, limit)
        size = self.size()
        at_end = offset + len(data) >= size
        if not (at_end and is_final):
            data = data[: len(data) - unfinished(data)]
        if not data:
            return None
        return Chunk(offset, offset + len(data), data.decode("utf-8", "replace"), not at_end)

    def lines(self, first: int, count: int) -> Lines:
        """Return up to `count` lines from `first` on, or the last ones when `first` is negative.

        Lines are those that a terminal shows: of one that was drawn anew, the last drawing counts.
        Very long lines are cut, and an answer that grows too large ends early.
        """
        with self._opened() as (log, size):
            index = LineIndex(log, size, self._sidecar())
            total = index.end.total
            first = max(total + first, 0) if first < 0 else min(first, total)
            found: list[str] = []
            room = MAX_RESPONSE_BYTES
            for stretch in chain.from_iterable(index.blocks(first)):
                wanted = first + len(found)
                if stretch.number + stretch.count <= wanted:
                    continue
                if len(found) == count or room <= 0:
                    break
                lines = _lines_of(log, stretch)[wanted - stretch.number :][: count - len(found)]
                found += lines
                room -= sum(map(len, lines))
            return Lines(first, total, found, size, index.end.is_complete)

    def tail(self, count: int) -> list[str]:
        return self.lines(-count, count).lines

    def search(self, query: str, first: int, limit: int) -> Matches:
        """Find lines that hold `query`, whatever the case of its ASCII letters, from `first` on.

        It ends at `limit` matches or after some tens of megabytes, sooner where lines were drawn
        anew. Of a line that is longer than a megabyte only the start is looked at.
        """
        needle = query.encode().lower()
        matches: list[Match] = []
        scanned = 0
        with self._opened() as (log, size):
            index = LineIndex(log, size, self._sidecar())
            for block in index.blocks(first):
                if block and scanned >= SCAN_BYTES:
                    return Matches(matches, max(block[0].number, first), is_done=False)
                for match in _matches_in(log, block, needle):
                    if match.line >= first:
                        matches.append(match)
                    if len(matches) == limit:
                        return Matches(matches, match.line + 1, is_done=False)
                is_drawn = any(stretch.drawn is not None for stretch in block)
                scanned += BLOCK * (DRAWN_COST if is_drawn else 1)
            return Matches(matches, index.end.total, is_done=True)

    def redrawn(self, offset: int, end: int) -> Lines | None:
        """Return the last lines as of `end` if the text from `offset` to there drew lines anew.

        Otherwise the text continues the last line.
        """
        with self._opened() as (log, _):
            goes_back = VERTICAL.search(os.pread(log, end - offset, offset))
            if not goes_back and not LineIndex(log, offset, self._sidecar()).end.is_drawn:
                return None
            window = LineIndex(log, end, self._sidecar()).end
            lines = [line for stretch in window.rows() for line in _lines_of(log, stretch)]
            return Lines(window.first, window.total, lines, end, window.is_complete)

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
        """Open the log up to its last whole character and terminal's sequence."""
        try:
            log = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            log = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(log).st_size
            start = max(size - LONGEST_UNFINISHED, 0)
            yield log, size - unfinished(os.pread(log, size - start, start))
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


def _lines_of(log: int, stretch: Stretch) -> list[str]:
    if stretch.drawn is not None:
        return [stretch.drawn]
    size = stretch.end - stretch.start
    if stretch.count == 1 and size > LINE_LIMIT:
        head = os.pread(log, LINE_LIMIT, stretch.start)
        return [shown_long(head, os.pread(log, LINE_LIMIT, stretch.end - LINE_LIMIT), size)]
    data = os.pread(log, size, stretch.start).removesuffix(b"\n")
    return [shown(line) for line in data.split(b"\n")]


def _matches_in(log: int, stretches: Iterable[Stretch], needle: bytes) -> Iterator[Match]:
    for stretch in stretches:
        if stretch.drawn is not None:
            data = stretch.drawn.encode()
        else:
            limit = SCAN_WINDOW if stretch.count == 1 else stretch.end - stretch.start
            data = os.pread(log, min(limit, stretch.end - stretch.start), stretch.start)
        yield from matching_lines(data, needle, stretch.number)


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
