"""What the launcher shows: the lines of all parts, each behind the name of its part."""

import os
import select
import sys
from collections import deque
from collections.abc import Iterable

COLOURS = (36, 33, 35, 32, 34, 31)
NAME_WIDTH = 10
LONGEST_LINE = 16 * 1024
MAX_BUFFERED_BYTES = 4 * 1024 * 1024
ATOMIC_WRITE = 4096  # what a pipe that has room takes without blocking


class Terminal:
    """Passes lines on without ever waiting for a reader: who stops reading must not stop us."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = sys.stdout.fileno() if fd is None else fd
        self._is_coloured = os.isatty(self._fd) and "NO_COLOR" not in os.environ
        self._colours: dict[str, int] = {}
        self._sources: dict[int, str] = {}
        self._unfinished: dict[int, bytes] = {}
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._is_closed = False

    def attach(self, name: str, output: int) -> None:
        """Show what comes out of a pipe, until its last writer is gone."""
        os.set_blocking(output, False)
        self._sources[output] = name
        self._unfinished[output] = b""

    def register(self, poll: "select.poll") -> None:
        """Return what has to happen before `handle_ready` has something to do."""
        for output in self._sources:
            poll.register(output, select.POLLIN)
        if self._waiting:
            poll.register(self._fd, select.POLLOUT)

    def handle_ready(self, ready: Iterable[int]) -> None:
        for output in set(ready) & self._sources.keys():
            self._read(output)
        self._flush()

    def log(self, name: str, text: str) -> None:
        self._show(name, text.encode())
        self._flush()

    def _read(self, output: int) -> None:
        piece = os.read(output, 65536)
        name = self._sources[output]
        *lines, rest = (self._unfinished[output] + piece).split(b"\n")
        for line in lines:
            self._show(name, line)
        if rest and (not piece or len(rest) > LONGEST_LINE):
            self._show(name, rest)
            rest = b""
        self._unfinished[output] = rest
        if not piece:
            os.close(output)
            del self._sources[output], self._unfinished[output]

    def _show(self, name: str, text: bytes) -> None:
        line = self._prefix(name) + text[:LONGEST_LINE] + b"\n"
        if self._is_closed:
            return
        if self._waiting_bytes + len(line) > MAX_BUFFERED_BYTES:
            self._dropped += 1
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def _flush(self) -> None:
        """Write as much as the reader takes now."""
        while self._waiting and self._has_room():
            try:
                written = os.write(self._fd, self._waiting[0][:ATOMIC_WRITE])
            except BlockingIOError:
                return
            except OSError:  # the reader is gone for good
                self._is_closed = True
                self._waiting.clear()
                return
            self._waiting_bytes -= written
            rest = self._waiting.popleft()[written:]
            if rest:
                self._waiting.appendleft(rest)
        if self._dropped and not self._waiting:
            dropped, self._dropped = self._dropped, 0
            self._show("trainyard", b"%d lines are not shown: nobody read them." % dropped)

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(0))

    def _prefix(self, name: str) -> bytes:
        padded = name.ljust(NAME_WIDTH)
        if not self._is_coloured:
            return f"{padded} | ".encode()
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\x1b[{colour}m{padded} |\x1b[0m ".encode()
