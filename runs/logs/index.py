"""Which line of a log begins where, as a terminal shows them: the window at fixed places.

A line is a row of the screen: of one that a program went back to, the last drawing counts.
"""

import os
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from zlib import compress, crc32, decompress

from runs.logs.screen import REACH, Screen, Stretch
from runs.logs.text import LONGEST_UNFINISHED, unfinished

BLOCK = 256 * 1024
FORMAT = 2  # of the sidecar, in the place of its first entry, which is always 0
FIELDS = 2
WIDTH = FIELDS * 8
IS_DRAWN = 1 << 63
STORED_AT_ONCE = 64
STATE_HEAD = struct.Struct("<II")


class LineIndex:
    """Entry k tells of the window before byte k * BLOCK: how many lines are above it, and where.

    A window that nothing was drawn in follows from the place where it starts. Others are kept in a
    second sidecar, at the place that the entry names. Entries follow from the log alone and have
    fixed places, so any process may write any of them at any time, and what a crash leaves out is
    made again by the next reader.
    """

    def __init__(self, log: int, size: int, sidecar: Path | None) -> None:
        self._log = log
        self._size = size
        self._sidecar = sidecar
        self._states: list[bytes] = []
        self._entries = self._stored()
        self._extend()

    @cached_property
    def end(self) -> Screen:
        """The window at the end of the log."""
        return self._run(len(self) - 1)

    def __len__(self) -> int:
        return len(self._entries) // FIELDS

    def blocks(self, line: int) -> Iterator[list[Stretch]]:
        """Yield the lines in order, from the block on in which `line` became final."""
        first = bisect_right(range(len(self)), line, key=self._lines_before) - 1
        for number in range(first, len(self) - 1):
            if self._lines_before(number) < self._lines_before(number + 1):
                screen = self._run(number)
                screen.settle()
                yield screen.final
        yield self.end.final + self.end.rows()

    def _lines_before(self, number: int) -> int:
        return self._entries[number * FIELDS]

    def _read(self, start: int, end: int) -> bytes:
        return os.pread(self._log, end - start, start)

    def _run(self, number: int) -> Screen:
        """Return the window behind a block, or where its last whole character ends."""
        screen = self._window(number)
        data = self._read(screen.position, min((number + 1) * BLOCK, self._size))
        is_whole = (number + 1) * BLOCK <= self._size
        screen.feed(data[: len(data) - unfinished(data)] if is_whole else data)
        return screen

    def _window(self, number: int) -> Screen:
        """Return the window before a block."""
        lines, place = self._entries[number * FIELDS : (number + 1) * FIELDS]
        if place & IS_DRAWN:
            state = self._state(place - IS_DRAWN)
            if state is None:
                self._entries = array("Q", [0, 0])
                self._extend()
                return self._window(number)
            return Screen.from_state(self._read, state)
        screen = Screen(self._read, lines, place)
        # Only a line that is longer than a window reaches starts before it.
        screen.position = max(place, number * BLOCK - REACH - LONGEST_UNFINISHED)
        return screen

    def _stored(self) -> "array[int]":
        entries = array("Q")
        if self._sidecar is not None:
            try:
                data = self._sidecar.read_bytes()
            except FileNotFoundError:
                data = b""
            whole = min(len(data) // WIDTH, self._size // BLOCK + 1)
            entries.frombytes(data[: whole * WIDTH])
        if not entries or entries[0] != FORMAT:
            return array("Q", [0, 0])
        entries[0] = 0
        return entries

    def _extend(self) -> None:
        while len(self) <= self._size // BLOCK:
            first = len(self)
            for number in range(first, min(first + STORED_AT_ONCE, self._size // BLOCK + 1)):
                screen = self._run(number - 1)
                screen.settle()
                place = self._keep(screen.state()) if screen.is_drawn else screen.start
                self._entries.extend((screen.first, place))
            self._store_from(first - 1)

    def _store_from(self, number: int) -> None:
        if self._sidecar is None:
            return
        fresh = self._entries[number * FIELDS :]
        if number == 0:
            fresh[0] = FORMAT
        with _opened(self._sidecar, os.O_WRONLY | os.O_CREAT) as sidecar:
            os.pwrite(sidecar, fresh.tobytes(), number * WIDTH)

    def _keep(self, state: str) -> int:
        """Store the state of a window; return the place for its entry."""
        data = compress(state.encode(), 1)
        if self._sidecar is None:
            self._states.append(data)
            return IS_DRAWN | len(self._states) - 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with _opened(_states_of(self._sidecar), flags) as states:
            os.write(states, STATE_HEAD.pack(len(data), crc32(data)) + data)
            end = os.lseek(states, 0, os.SEEK_CUR)
        return IS_DRAWN | end - len(data) - STATE_HEAD.size

    def _state(self, place: int) -> str | None:
        """Return a state, or None where a crash left half of it."""
        if self._sidecar is None:
            return decompress(self._states[place]).decode()
        try:
            with _opened(_states_of(self._sidecar), os.O_RDONLY) as states:
                length, checksum = STATE_HEAD.unpack(os.pread(states, STATE_HEAD.size, place))
                data = os.pread(states, length, place + STATE_HEAD.size)
        except (FileNotFoundError, struct.error):
            return None
        return decompress(data).decode() if crc32(data) == checksum else None


def _states_of(sidecar: Path) -> Path:
    return sidecar.with_suffix(".states")


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags | os.O_CLOEXEC, 0o640)
    try:
        yield file
    finally:
        os.close(file)
