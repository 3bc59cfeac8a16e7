"""The logs of a group of processes as one: a journal of which piece of which log came when.

Journal records hold whole lines only; of lines that a record draws anew, the last drawing counts.
They follow the logs: what was stored without its record, because the process between died, gets one
as soon as anyone writes or reads.
"""

import fcntl
import os
import struct
import time
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from runs.logs.log_file import (
    MAX_RESPONSE_BYTES,
    SCAN_BYTES,
    Chunk,
    Lines,
    LogFile,
    Match,
    Matches,
    folder_of,
    log_of,
)
from runs.logs.screen import VERTICAL, lines_shown
from runs.logs.text import OVERWRITES, shown

RECORD = struct.Struct("<IIQQdQ")
RECORD_BYTES = 256 * 1024
LONGEST_LINE = 4 * 1024 * 1024
REMEMBERED = 256


class Record(NamedTuple):
    """A piece of a process's log; `lines` counts those of the journal up to and with this one."""

    process: int
    own_lines: int
    start: int
    length: int
    at: float
    lines: int


@dataclass
class _LogEnd:
    """How far the journal covers each log, as of a size of the journal."""

    size: int
    bytes: list[int]
    lines: int


_remembered: dict[Path, _LogEnd] = {}


@dataclass(frozen=True)
class MergedLog:
    """The merged log of the group with this label; offsets in it count records.

    `names` are the group's processes, always in the same order; the logs of `final` ones will not
    grow any more, so that a last line without a newline counts.
    """

    label: str
    names: Sequence[str]
    final: Collection[str] = ()

    def update(self) -> None:
        """Record every whole line of the logs that has no record yet."""
        with self._journal() as journal:
            ends = self._ends(journal)
            for process in range(len(self.names)):
                self._record(journal, ends, process)
            _remembered[self._path] = ends
            if len(_remembered) > REMEMBERED:
                _remembered.pop(next(iter(_remembered)), None)

    def lines(self, first: int, count: int) -> Lines:
        self.update()
        with self._reading() as records:
            total = records.line_count()
            first = max(total + first, 0) if first < 0 else min(first, total)
            found: list[str] = []
            room = MAX_RESPONSE_BYTES
            for number in range(records.holding(first), len(records)):
                record = records[number]
                skipped = max(first - (record.lines - record.own_lines), 0)
                lines = self._lines_of(record)[skipped : skipped + count - len(found)]
                found += lines
                room -= sum(map(len, lines))
                if len(found) >= count or room < 0:
                    break
            return Lines(first, total, found, len(records), is_complete=True)

    def search(self, query: str, first: int, limit: int) -> Matches:
        self.update()
        needle = query.lower()
        matches: list[Match] = []
        scanned = 0
        with self._reading() as records:
            for number in range(records.holding(first), len(records)):
                record = records[number]
                before = record.lines - record.own_lines
                for line, text in enumerate(self._lines_of(record), before):
                    if line >= first and needle in text.lower():
                        matches.append(Match(line, text[:400]))
                        if len(matches) == limit:
                            return Matches(matches, line + 1, is_done=False)
                scanned += record.length
                if scanned >= SCAN_BYTES:
                    return Matches(matches, record.lines, is_done=False)
            return Matches(matches, records.line_count(), is_done=True)

    def chunk(self, offset: int, limit: int, *, is_final: bool = False) -> Chunk | None:
        self.update()
        with self._reading() as records:
            texts: list[str] = []
            size = 0
            number = min(offset, len(records))
            start = number
            while number < len(records) and size < limit:
                lines = self._lines_of(records[number])
                size += sum(map(len, lines))
                texts += lines
                number += 1
            if number == start:
                return None
            text = "".join(f"{line}\n" for line in texts)
            return Chunk(start, number, text, number < len(records))

    def redrawn(self, offset: int, end: int) -> None:
        """Return that nothing was drawn anew: records never change."""

    @cached_property
    def _path(self) -> Path:
        return folder_of(self.label) / "merged.idx"

    @cached_property
    def _logs(self) -> list[LogFile]:
        return [log_of(self.label, name) for name in self.names]

    @contextmanager
    def _journal(self) -> Iterator[int]:
        """Open the journal for writing, alone, with its records whole."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        journal = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(journal, fcntl.LOCK_EX)
            torn = os.fstat(journal).st_size % RECORD.size
            if torn:
                os.ftruncate(journal, os.fstat(journal).st_size - torn)
            yield journal
        finally:
            os.close(journal)

    @contextmanager
    def _reading(self) -> Iterator["_Records"]:
        with self._path.open("rb") as journal:
            yield _Records(journal.fileno())

    def _ends(self, journal: int) -> _LogEnd:
        size = os.fstat(journal).st_size
        ends = _remembered.pop(self._path, None)
        if ends is None or ends.size > size or len(ends.bytes) != len(self.names):
            ends = _LogEnd(0, [0] * len(self.names), 0)
        while ends.size < size:
            data = os.pread(journal, 10_000 * RECORD.size, ends.size)
            for fields in RECORD.iter_unpack(data):
                record = Record(*fields)
                ends.bytes[record.process] = record.start + record.length
                ends.lines = record.lines
            ends.size += len(data)
        return ends

    def _record(self, journal: int, ends: _LogEnd, process: int) -> None:
        log = self._logs[process]
        size = log.size()
        is_final = self.names[process] in self.final
        while ends.bytes[process] < size:
            start = ends.bytes[process]
            length = _whole_lines(log, start, size, is_final=is_final)
            if not length:
                return
            data = log.read(start, length)
            own_lines = len(_shown_lines_of(data))
            ends.lines += own_lines
            record = RECORD.pack(process, own_lines, start, length, time.time(), ends.lines)
            os.pwrite(journal, record, ends.size)
            ends.size += RECORD.size
            ends.bytes[process] = start + length

    def _lines_of(self, record: Record) -> list[str]:
        name = self.names[record.process]
        data = self._logs[record.process].read(record.start, record.length)
        lines = _shown_lines_of(data)
        if len(lines) != record.own_lines:  # recorded before drawings were followed
            lines = _stored_lines_of(data)
        return [f"{name} | {_apply_carriage_returns(line)}" for line in lines]


class _Records(Sequence[Record]):
    """The records of a journal, read where they are looked at."""

    def __init__(self, journal: int) -> None:
        self._journal = journal
        self._count = os.fstat(journal).st_size // RECORD.size

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Record:  # type: ignore[override]
        return Record(*RECORD.unpack(os.pread(self._journal, RECORD.size, number * RECORD.size)))

    def line_count(self) -> int:
        return self[self._count - 1].lines if self._count else 0

    def holding(self, line: int) -> int:
        """Return the number of the record that holds a line."""
        return bisect_right(self, line, key=lambda record: record.lines)


def _shown_lines_of(data: bytes) -> list[bytes]:
    return lines_shown(data) if VERTICAL.search(data) else _stored_lines_of(data)


def _stored_lines_of(data: bytes) -> list[bytes]:
    return data.removesuffix(b"\n").split(b"\n")


def _whole_lines(log: LogFile, start: int, size: int, *, is_final: bool) -> int:
    """Return how many bytes from `start` on make a record: whole lines, of a handy size if any.

    A line that has no end within some megabytes is taken in pieces.
    """
    data = log.read(start, min(RECORD_BYTES, size - start))
    found = data.rfind(b"\n") + 1
    if found:
        return found
    data += log.read(start + len(data), LONGEST_LINE - len(data))
    found = data.find(b"\n") + 1
    if found or len(data) == LONGEST_LINE or is_final:
        return found or len(data)
    return 0


def _apply_carriage_returns(line: bytes) -> str:
    if OVERWRITES.search(line):
        line = line.rstrip(b"\r").rpartition(b"\r")[2]
    return shown(line)
