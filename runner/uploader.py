"""Threads that upload what a program writes, until it has ended and all is stored."""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from runner.found_files import FoundFile, open_regular, quoted, shown
from runner.http_client import ServerUnreachable
from runner.server_connection import ServerConnection

MAX_NOTED = 100

LogNote = Callable[[str], None]


class Uploader(threading.Thread, ABC):
    """A thread with an HTTP client of its own; subclasses say in `upload` what it sends."""

    def __init__(self, name: str, connection: ServerConnection) -> None:
        super().__init__(name=name, daemon=True)
        self._connection = connection
        self._http = connection.open()
        self._ended = threading.Event()
        self.problem: Exception | None = None

    @abstractmethod
    def upload(self) -> None:
        """Upload until `_ended` is set and nothing is left."""

    def run(self) -> None:
        try:
            self.upload()
        except Exception as problem:
            self.problem = problem
            sys.stderr.write(f"{self.name} are uploaded no more: {problem!r}\n")
        finally:
            self._http.close()

    def end(self) -> None:
        """Note that the program has ended."""
        self._ended.set()

    def finish(self) -> None:
        """Return when all is stored; the program must have ended. Raises what went wrong."""
        self.end()
        self.join()
        if self.problem is not None:
            raise self.problem


class FolderUploader(Uploader):
    """An uploader of whole files, which may change or vanish at any moment.

    Each is judged by itself: one that cannot be kept is noted in the log, and the others are kept.
    """

    def __init__(
        self, name: str, connection: ServerConnection, note: LogNote, max_file_bytes: int | None
    ) -> None:
        super().__init__(name, connection)
        self._note = note
        self._noted: set[str] = set()
        self._max_file_bytes = max_file_bytes

    def _problem_of(self, found: FoundFile) -> str:
        """Return why a file need not be read at all, or nothing when it is to be sent."""
        try:
            found.path.encode()
        except UnicodeEncodeError:
            return "its name is not UTF-8"
        if self._max_file_bytes is not None and found.size > self._max_file_bytes:
            most = self._max_file_bytes
            return f"it has {found.size:,} bytes; the files of a run may have {most:,} in all"
        return ""

    def _is_uploaded(self, endpoint: str, found: FoundFile, digest: str) -> bool:
        """Send a whole file; return False when it changed meanwhile, so that it is sent again."""
        query = f"{endpoint}?path={quoted(found.path)}&sha256={digest}&size={found.size}"
        with open(open_regular(found.place), "rb") as file:

            def attempt() -> bool:
                try:
                    self._http.upload(query, file, found.size)
                except ServerUnreachable:
                    if not found.is_unchanged():
                        return False
                    raise
                return True

            return self._connection.call_until_answered(attempt)

    def _note_skipped(self, path: str, reason: str) -> None:
        """Note once in the log of the process that a file is not kept, of as many as help."""
        if path in self._noted or len(self._noted) > MAX_NOTED:
            return
        self._noted.add(path)
        if len(self._noted) > MAX_NOTED:
            self._note("more files were not kept; their names are not listed")
        else:
            self._note(f"{shown(path)} was not kept: {reason}")
