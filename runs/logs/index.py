"""Which line of a log begins where: newline counts at fixed places, and one look into a block."""

import os
from array import array
from bisect import bisect_left
from pathlib import Path

BLOCK = 256 * 1024
WIDTH = 8


class LineIndex:
    """Entry k is the number of newlines before byte k * BLOCK.

    Entries follow from the log alone and have fixed places in the sidecar, so any process may write
    any of them at any time, and what a crash leaves out is counted again by the next reader.
    """

    def __init__(self, log: int, size: int, sidecar: Path | None) -> None:
        self._log = log
        self._size = size
        self._sidecar = sidecar
        self._entries = self._stored()
        self._extend()

    def newlines(self) -> int:
        last = len(self._entries) - 1
        return self._entries[last] + self._block(last).count(b"\n")

    def line_start(self, line: int) -> int | None:
        """Return the byte where a line (counted from 0) starts, or None beyond the last newline."""
        if line == 0:
            return 0
        block = bisect_left(self._entries, line) - 1
        data = self._block(block)
        parts = data.split(b"\n", line - self._entries[block])
        if len(parts) <= line - self._entries[block]:
            return None
        return block * BLOCK + len(data) - len(parts[-1])

    def _block(self, number: int) -> bytes:
        start = number * BLOCK
        return os.pread(self._log, min(BLOCK, self._size - start), start)

    def _stored(self) -> "array[int]":
        entries = array("Q")
        if self._sidecar is not None:
            try:
                data = self._sidecar.read_bytes()
            except FileNotFoundError:
                data = b""
            whole = min(len(data) // WIDTH, self._size // BLOCK + 1)
            entries.frombytes(data[: whole * WIDTH])
        return entries or array("Q", [0])

    def _extend(self) -> None:
        first = len(self._entries)
        for number in range(first, self._size // BLOCK + 1):
            self._entries.append(self._entries[-1] + self._block(number - 1).count(b"\n"))
        if self._sidecar is None or len(self._entries) == first:
            return
        sidecar = os.open(self._sidecar, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.pwrite(sidecar, self._entries[first - 1 :].tobytes(), (first - 1) * WIDTH)
        finally:
            os.close(sidecar)
