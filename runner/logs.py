"""Upload logs as they grow: that of the process, and those of the MPI ranks on this node."""

from __future__ import annotations

import os
import re
import time

from runner.constants import COPY_BYTES
from runner.found_files import open_regular
from runner.process_directory import free_start
from runner.server_connection import ServerConnection
from runner.uploader import Uploader

FIRST_PAUSE_SECONDS = 0.003
BUSY_PAUSE_SECONDS = 0.08
IDLE_PAUSE_SECONDS = 0.1
PAUSE_GROWTH = 1.15
PARTIAL_LINE_SECONDS = 0.2
PARTIAL_LINE_BYTES = 256 * 1024
FOLDER_SCAN_SECONDS = 0.1
FULL_PAUSE_SECONDS = 2.0
MARK_BYTES = 64
KEPT_OF_SPOOL_BYTES = 1 << 20  # what explains a failure stands at the end
RANK_LOG = re.compile(r"[0-9]{1,6}\.log")


class LogUploader(Uploader):
    """Sends the spool as it grows, in chunks that end with a line where that costs no time.

    The response says how much the server holds; that is where the next chunk starts, so a lost
    response or a lost chunk needs no care here. It may hold back an end that may be the beginning
    of a secret, unless the chunk is the last one. Of a log that is full no more is sent: the server
    has noted that in it, and the program goes on.

    A program may cut its spool, as a shell does that runs `echo ... > /dev/stderr`: what it writes
    from then on continues the log.
    """

    def __init__(
        self,
        connection: ServerConnection,
        spool: str,
        *,
        is_resumed: bool = False,
        path: str = "log?",
    ) -> None:
        super().__init__("log", connection)
        self._path = path
        self._spool = spool
        self._is_resumed = is_resumed
        self._sent = 0
        self._last_sent = b""
        self._cut = 0  # bytes of the log that the spool had before the program cut it
        self._waiting: tuple[int, float] | None = None
        self._is_full = False

    def upload(self) -> None:
        spool = open_regular(self._spool)
        if self._is_resumed:
            self._send(b"")
        pause = FIRST_PAUSE_SECONDS
        while not self._is_full:
            is_over = self._ended.is_set()
            available = os.fstat(spool).st_size
            place = self._place_in(spool, available)
            chunk = os.pread(spool, COPY_BYTES, place)
            part = chunk if is_over else self._complete_lines(chunk)
            if part:
                self._send(part, is_last=is_over and place + len(part) >= available)
                pause = BUSY_PAUSE_SECONDS
            if is_over and self._sent - self._cut >= available:
                break
            if len(chunk) < COPY_BYTES and not is_over:
                self._ended.wait(pause)
                pause = min(pause * PAUSE_GROWTH, IDLE_PAUSE_SECONDS)
        if self._is_full:
            self._pass_over_rest(spool)
        os.close(spool)

    def _pass_over_rest(self, spool: int) -> None:
        """Report that the program still writes, and free the disk of what nobody will read."""
        reported = self._sent
        while not self._ended.wait(FULL_PAUSE_SECONDS):
            size = os.fstat(spool).st_size
            if size != reported:
                reported = size
                self._send(b"")
                free_start(self._spool, size - KEPT_OF_SPOOL_BYTES)

    def _place_in(self, spool: int, available: int) -> int:
        """Return where in the spool that starts which the server does not hold."""
        place, mark = self._sent - self._cut, self._last_sent
        if mark and os.pread(spool, len(mark), place - len(mark)) != mark:
            self._cut, self._last_sent = self._sent, b""
        elif place > available:
            self._cut = self._sent - available
        return self._sent - self._cut

    def _send(self, part: bytes, *, is_last: bool = False) -> None:
        query = f"{self._path}offset={self._sent}{'&end=1' if is_last else ''}"
        answer = self._connection.call(self._http, "POST", query, part)
        taken = int(answer["size"]) - self._sent
        is_of_part = 0 <= taken <= len(part)
        self._last_sent = (self._last_sent + part[:taken])[-MARK_BYTES:] if is_of_part else b""
        self._sent += taken
        self._is_full = answer.get("full") is True

    def _complete_lines(self, chunk: bytes) -> bytes:
        """Return what is to be sent now: whole lines, or a piece of one that waits or is long."""
        whole = chunk.rfind(b"\n") + 1
        if whole:
            return chunk[:whole]
        if not chunk or len(chunk) >= PARTIAL_LINE_BYTES:
            return chunk
        now = time.monotonic()
        if self._waiting is None or self._waiting[0] != self._sent:
            self._waiting = (self._sent, now)
        return chunk if now - self._waiting[1] >= PARTIAL_LINE_SECONDS else b""


class RankLogUploader(Uploader):
    """Starts an uploader for the log of each rank."""

    def __init__(self, connection: ServerConnection, folder: str, *, is_resumed: bool) -> None:
        super().__init__("ranks", connection)
        self._folder = folder
        self._is_resumed = is_resumed
        self._logs: dict[str, LogUploader] = {}

    def finish(self) -> None:
        super().finish()
        for log in self._logs.values():
            log.end()
        for log in self._logs.values():
            log.join()
        for log in self._logs.values():
            log.finish()

    def upload(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._ended.wait(FOLDER_SCAN_SECONDS)
            if os.path.isdir(self._folder):
                for name in sorted(set(os.listdir(self._folder)) - self._logs.keys()):
                    if RANK_LOG.fullmatch(name):
                        self._start(name)

    def _start(self, name: str) -> None:
        rank = name.partition(".")[0]
        self._logs[name] = LogUploader(
            self._connection,
            os.path.join(self._folder, name),
            is_resumed=self._is_resumed,
            path=f"log?rank={rank}&",
        )
        self._logs[name].start()
