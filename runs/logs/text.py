"""How bytes of a log become text: cut between characters, and long lines cut short."""

import re

from workspace.compute.program_text import clean_text

LINE_LIMIT = 16 * 1024
OVERWRITES = re.compile(rb"[\r\b]")
SEQUENCE_BEGUN = re.compile(rb"\x1b(?:\[[0-9;:?]{0,32})?\Z")
LONGEST_UNFINISHED = 34


def unfinished_character(data: bytes) -> int:
    """Return how many bytes at the end of `data` begin a UTF-8 character that is not whole yet."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0b1100_0000 != 0b1000_0000:
            width = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return back if width > back else 0
    return 0


def unfinished(data: bytes) -> int:
    """Return how many bytes at the end of `data` begin a character or a terminal's sequence."""
    begun = SEQUENCE_BEGUN.search(data, max(len(data) - LONGEST_UNFINISHED, 0))
    return len(data) - begun.start() if begun else unfinished_character(data)


def shown(line: bytes) -> str:
    """Return a line as text; one that is too long is cut, with a note."""
    if len(line) <= LINE_LIMIT:
        return _text(line)
    return shown_long(line[:LINE_LIMIT], line[-LINE_LIMIT:], len(line))


def shown_long(head: bytes, tail: bytes, size: int) -> str:
    """Return what is worth seeing of a long line.

    A progress bar writes one line over and over: there the end is what a terminal would show.
    """
    overwrite = OVERWRITES.search(tail)
    if overwrite:
        return _text(tail[overwrite.start() :])
    head = head[: len(head) - unfinished_character(head)]
    return (
        f"{_text(head)}"
        f" … (a line of {size:,} bytes, of which {len(head):,} are shown; the download has all)"
    )


def drawing_of(head: bytes, tail: bytes) -> bytes:
    """Return what is worth drawing of a line by its start and its end, which may be the same."""
    overwrite = OVERWRITES.search(tail)
    return tail[overwrite.start() :] if overwrite and len(tail) == LINE_LIMIT else head


def _text(line: bytes) -> str:
    return clean_text(line.decode("utf-8", "replace"), LINE_LIMIT)
