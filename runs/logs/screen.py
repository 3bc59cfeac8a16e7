"""What a terminal shows of a log: rows that a program went back to show what it drew last.

A program can go back to the rows of the window at the end of the log; all rows above are final.
"""

import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from runs.logs.cells import Cells
from runs.logs.text import LINE_LIMIT, drawing_of

WINDOW = 50
REACH = 64 * 1024
# Cursor up and down, and what erases below.
VERTICAL = re.compile(rb"\x1b\[(?:([0-9]{0,9})([ABEF])|0?(J))")

# Sequences that show and hide the cursor and the like: alone they are no line.
MODES = re.compile(rb"(?:\x1b\[\?[0-9;]{0,9}[hl])+")
LONGEST_MODES = 64

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows that follow each other: so many whole lines of the log, or one row as it was drawn.

    The bytes of a single row end before its newline.
    """

    number: int
    count: int
    start: int
    end: int
    drawn: str | None = None


@dataclass(slots=True)
class ScreenRow:
    """A row of the window: bytes of the log, or cells once a cursor moved up to it."""

    start: int
    end: int | None = None
    cells: Cells | None = None


class Screen:
    """The window as of a place in a log; `final` gathers the rows that left it.

    Rows that nothing went back to are not looked at: they are ranges of the log, which `read`
    returns. A row that lies far back is out of reach, unless it was drawn.
    """

    def __init__(self, read: Read, first: int = 0, start: int = 0) -> None:
        self.first = first
        self.position = start
        self.final: list[Stretch] = []
        self._read = read
        self._rows = deque([ScreenRow(start)])
        self._cursor = 0
        self._column = 0
        self._style = ""

    @property
    def is_drawn(self) -> bool:
        """Whether a cursor moved up to a row of the window."""
        return any(row.cells is not None for row in self._rows)

    @property
    def start(self) -> int:
        """Where the first row of the window starts."""
        return self._rows[0].start

    @property
    def total(self) -> int:
        return self.first + self._visible

    @property
    def is_complete(self) -> bool:
        """Whether what comes next begins a new row."""
        return self._cursor >= self._visible

    def feed(self, data: bytes) -> None:
        """Take the bytes that follow; no character or sequence is cut at their end."""
        at = 0
        for found in VERTICAL.finditer(data):
            self._write(data[at : found.start()])
            self._move(found[3] or found[2], int(found[1] or 1) or 1)
            self.position += len(found[0])
            at = found.end()
        self._write(data[at:])

    def settle(self) -> None:
        """Finish the rows that are out of reach."""
        while len(self._rows) > WINDOW or (
            len(self._rows) > 1
            and self._rows[0].cells is None
            and self._rows[0].start < self.position - REACH
        ):
            self._finish_first()

    def rows(self) -> list[Stretch]:
        """Return the rows of the window that show something, and the empty ones between them."""
        return [self._stretch(number) for number in range(self._visible)]

    def state(self) -> str:
        """Return the window as text, to go on from there."""
        rows = [[row.start, row.end, row.cells and row.cells.text()] for row in self._rows]
        place = [self.first, self.position, self._cursor, self._column, self._style]
        return json.dumps([*place, rows])

    @classmethod
    def from_state(cls, read: Read, state: str) -> "Screen":
        first, position, cursor, column, style, rows = json.loads(state)
        screen = cls(read, first, position)
        screen._cursor, screen._column, screen._style = cursor, column, style
        screen._rows = deque(ScreenRow(start, end, _cells_of(text)) for start, end, text in rows)
        return screen

    @property
    def _visible(self) -> int:
        shown = [number for number, row in enumerate(self._rows) if not self._is_blank(row)]
        return max(self._cursor, shown[-1] + 1 if shown else 0)

    def _is_blank(self, row: ScreenRow) -> bool:
        if row.cells is not None:
            return row.cells.is_blank
        end = self._end(row)
        if not 0 < end - row.start <= LONGEST_MODES:
            return row.start == end
        return row.end is None and MODES.fullmatch(self._read(row.start, end)) is not None

    def _end(self, row: ScreenRow) -> int:
        return self.position if row.end is None else row.end

    def _stretch(self, number: int) -> Stretch:
        row = self._rows[number]
        drawn = row.cells.text() if row.cells else None
        return Stretch(self.first + number, 1, row.start, self._end(row), drawn)

    def _finish_first(self) -> None:
        self.final.append(self._stretch(0))
        self._rows.popleft()
        self.first += 1
        self._cursor -= 1

    def _write(self, text: bytes) -> None:
        while text:
            cells = self._rows[self._cursor].cells
            if cells is None:
                self._extend_last(text)
                return
            piece, newline, text = text.partition(b"\n")
            if piece:
                letters = piece.decode("utf-8", "replace")
                self._column, self._style = cells.write(letters, self._column, self._style)
            self.position += len(piece) + len(newline)
            if newline:
                self._next_row()

    def _next_row(self) -> None:
        self._column = 0
        self._cursor += 1
        if self._cursor == len(self._rows):
            self._rows[-1].end = self.position - 1
            self._rows.append(ScreenRow(self.position))
            if len(self._rows) > WINDOW:
                self._finish_first()

    def _extend_last(self, text: bytes) -> None:
        """Add lines to the last row, which no cursor moved up to."""
        newlines = text.count(b"\n")
        if newlines > WINDOW:
            text = self._skip_to_window(text, newlines)
        at = self.position
        for part in text.split(b"\n")[:-1]:
            self.position += len(part) + 1
            self._next_row()
        self.position = at + len(text)

    def _skip_to_window(self, text: bytes, newlines: int) -> bytes:
        """Finish all rows but those that the window holds at the end of `text`."""
        first, last = text.find(b"\n"), len(text)
        for _ in range(WINDOW):
            last = text.rfind(b"\n", 0, last)
        self._rows[-1].end = self.position + first
        while self._rows:
            self._finish_first()
        count = newlines - WINDOW
        start, end = self.position + first + 1, self.position + last + 1
        self.final.append(Stretch(self.first, count, start, end))
        self.first += count
        self.position = end
        self._rows.append(ScreenRow(end))
        self._cursor = 0
        return text[last + 1 :]

    def _move(self, kind: bytes, count: int) -> None:
        if kind in b"AF":
            self.settle()
            target = max(self._cursor - count, 0)
            for number in range(target, len(self._rows)):
                self._draw(number)
            self._cursor = target
        elif kind in b"BE":
            self._cursor = min(self._cursor + count, len(self._rows) - 1)
        elif cells := self._rows[self._cursor].cells:
            cells.erase_from(self._column)
            for number in range(self._cursor + 1, len(self._rows)):
                self._rows[number].cells = Cells()
        if kind in b"EF":
            self._column = 0

    def _draw(self, number: int) -> None:
        """Turn a row into cells."""
        row = self._rows[number]
        if row.cells is None:
            end = self._end(row)
            head = self._read(row.start, min(end, row.start + LINE_LIMIT))
            tail = self._read(max(row.start, end - LINE_LIMIT), end)
            row.cells = Cells()
            place = row.cells.write(drawing_of(head, tail).decode("utf-8", "replace"), 0, "")
            if number == self._cursor:
                self._column, self._style = place


def lines_shown(data: bytes) -> list[bytes]:
    """Return the lines that a terminal shows of a text."""
    screen = Screen(lambda start, end: data[start:end])
    screen.feed(data)
    lines: list[bytes] = []
    for stretch in screen.final + screen.rows():
        if stretch.drawn is not None:
            lines.append(stretch.drawn.encode())
        else:
            lines += data[stretch.start : stretch.end].removesuffix(b"\n").split(b"\n")
    return lines


def _cells_of(text: str | None) -> Cells | None:
    if text is None:
        return None
    cells = Cells()
    cells.write(text, 0, "")
    return cells
