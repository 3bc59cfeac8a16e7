"""Ship the log: the spool file, as it grows."""

from __future__ import annotations

import os
import threading
import time

from runs.runner.line import Line

CHUNK_BYTES = 1 << 20
FIRST_PAUSE_SECONDS = 0.003
BUSY_PAUSE_SECONDS = 0.08
IDLE_PAUSE_SECONDS = 0.1
PAUSE_GROWTH = 1.15
PARTIAL_LINE_SECONDS = 0.2
PARTIAL_LINE_BYTES = 256 * 1024


class LogShipper(threading.Thread):
    """Sends the spool as it grows, in chunks that end with a line where that costs no time.

    The web process's answer says how much it holds; that is where the next chunk starts, so a lost
    answer or a lost chunk needs no care here.
    """

    def __init__(
        self, line: Line, spool: str, *, is_resumed: bool = False, path: str = "log?"
    ) -> None:
        super().__init__(name="log", daemon=True)
        self._path = path
        self._line = line
        self._wire = line.open()
        self._spool = spool
        self._is_resumed = is_resumed
        self._over = threading.Event()
        self._sent = 0
        self._waiting: tuple[int, float] | None = None
        self.problem: Exception | None = None

    def finish(self) -> None:
        """Return when all is stored; the program must have ended."""
        self._over.set()
        self.join()
        if self.problem is not None:
            raise self.problem

    def run(self) -> None:
        try:
            self._ship()
        except Exception as problem:
            self.problem = problem

    def _ship(self) -> None:
        spool = os.open(self._spool, os.O_RDONLY | os.O_CLOEXEC)
        if self._is_resumed:
            self._send(b"")
        pause = FIRST_PAUSE_SECONDS
        while True:
            is_over = self._over.is_set()
            available = os.fstat(spool).st_size
            self._sent = min(self._sent, available)
            chunk = os.pread(spool, CHUNK_BYTES, self._sent)
            part = chunk if is_over else self._ripe(chunk)
            if part:
                self._send(part)
                pause = BUSY_PAUSE_SECONDS
            if is_over and self._sent >= available:
                break
            if len(chunk) < CHUNK_BYTES and not is_over:
                self._over.wait(pause)
                pause = min(pause * PAUSE_GROWTH, IDLE_PAUSE_SECONDS)
        os.close(spool)
        self._wire.close()

    def _send(self, part: bytes) -> None:
        answer = self._line.call(self._wire, "POST", f"{self._path}offset={self._sent}", part)
        self._sent = int(answer["size"])

    def _ripe(self, chunk: bytes) -> bytes:
        """Give what is to be sent now: whole lines, or a piece of one that waits or is long."""
        whole = chunk.rfind(b"\n") + 1
        if whole:
            return chunk[:whole]
        if not chunk or len(chunk) >= PARTIAL_LINE_BYTES:
            return chunk
        now = time.monotonic()
        if self._waiting is None or self._waiting[0] != self._sent:
            self._waiting = (self._sent, now)
        return chunk if now - self._waiting[1] >= PARTIAL_LINE_SECONDS else b""
