"""Upload files: those below logs/ as they grow, those below outputs/ once they rest.

When the program has ended, the outputs that it removed are dropped, and before that where what
comes next finds no room.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from runner.constants import COPY_BYTES, OUTPUTS_DIRECTORY
from runner.found_files import (
    FileVersion,
    FoundFile,
    files_below,
    open_regular,
    quoted,
    reason_of,
)
from runner.http_client import RequestRefused
from runner.server_connection import ServerConnection
from runner.uploader import FolderUploader, LogNote

EVERY_SECONDS = 1.0
QUIET_SECONDS = 2.0
OFFERED_AT_ONCE = 200
MARK_BYTES = 64


class UploadedPrefix:
    """How far a growing file has been sent, and what its sent part starts and ends with."""

    __slots__ = ("first", "inode", "last", "sent", "version")

    def __init__(self, inode: int, sent: int) -> None:
        self.inode = inode
        self.sent = sent
        self.first = self.last = b""
        self.version: FileVersion | None = None

    def continues_in(self, file: int, found: FoundFile) -> bool:
        """Return whether what was sent is still the start of the file."""
        if self.inode != found.version[0] or found.size < self.sent:
            return False
        at_start = os.pread(file, len(self.first), 0)
        at_end = os.pread(file, len(self.last), self.sent - len(self.last))
        return at_start == self.first and at_end == self.last

    def take(self, chunk: bytes, held: int) -> None:
        """Note that the server holds `held` bytes, once it was sent what follows the sent part.

        The marks are those of what was sent: the file may have been rewritten meanwhile.
        """
        if self.sent <= held <= self.sent + len(chunk):
            taken = chunk[: held - self.sent]
            if len(self.first) == self.sent:
                self.first = (self.first + taken)[:MARK_BYTES]
            self.last = (self.last + taken)[-MARK_BYTES:]
        else:
            self.first, self.last = self.first[:held], b""
        self.sent = held


class FileUploader(FolderUploader):
    """Looks at the working directory every second, and once more when the program has ended."""

    def __init__(
        self,
        connection: ServerConnection,
        work: str,
        *,
        watch: list[str],
        outputs: bool,
        is_resumed: bool,
        note: LogNote,
        max_file_bytes: int | None,
    ) -> None:
        super().__init__("files", connection, note, max_file_bytes)
        self._work = work
        self._watch = watch
        self._outputs = outputs
        self._is_resumed = is_resumed
        self._uploaded_prefixes: dict[str, UploadedPrefix] = {}
        self._stored: dict[str, FileVersion] = {}
        self._sent: set[str] = set()
        self._gone: set[str] = set()
        self._refused: set[str] = set()

    def upload(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._ended.wait(EVERY_SECONDS)
            self._ship_growing()
            if self._outputs:
                self._ship_outputs(is_over=is_over)

    def _ship_growing(self) -> None:
        for folder in self._watch:
            for found in files_below(self._work, folder, self._note_skipped):
                growth = self._uploaded_prefixes.get(found.path)
                if growth is None or growth.version != found.version:
                    self._skipping_unreadable(found, partial(self._ship_growth, found))

    def _ship_growth(self, found: FoundFile) -> None:
        file = open_regular(found.place)
        try:
            growth = self._uploaded_prefixes.get(found.path)
            if growth is None:
                growth = UploadedPrefix(found.version[0], 0)
                if self._is_resumed:
                    growth.sent = self._send_growth(found, 0, b"", is_new=False)
            is_new = not growth.continues_in(file, found)
            if is_new:
                growth = UploadedPrefix(found.version[0], 0)
            self._uploaded_prefixes[found.path] = growth
            while growth.sent < found.size or is_new:
                sent = growth.sent
                chunk = os.pread(file, min(COPY_BYTES, found.size - sent), sent)
                if not chunk and not is_new:
                    break
                is_last = self._ended.is_set() and sent + len(chunk) >= found.size
                held = self._send_growth(found, sent, chunk, is_new=is_new, is_last=is_last)
                growth.take(chunk, held)
                is_new = False
                if chunk and held == sent:
                    return  # the server waits for what follows: the next look sends it again
            growth.version = found.version
        finally:
            os.close(file)

    def _send_growth(
        self, found: FoundFile, offset: int, chunk: bytes, *, is_new: bool, is_last: bool = False
    ) -> int:
        marks = f"{'&restart=1' if is_new else ''}{'&end=1' if is_last else ''}"
        query = f"file?path={quoted(found.path)}&offset={offset}{marks}"
        answer = self._connection.call_until_answered(lambda: self._http.call("POST", query, chunk))
        return int(answer["size"])

    def _ship_outputs(self, *, is_over: bool) -> None:
        rested_before = time.time() - QUIET_SECONDS
        outputs = self._find_outputs()
        if is_over:
            self._drop_gone()
        changed = [
            found
            for found in outputs
            if self._stored.get(found.path) != found.version
            and (is_over or found.rested_since <= rested_before)
        ]
        for start in range(0, len(changed), OFFERED_AT_ONCE):
            self._offer(changed[start : start + OFFERED_AT_ONCE])

    def _find_outputs(self) -> list[FoundFile]:
        """List the outputs, and note which of those that were sent are gone."""
        unseen: list[str] = []

        def skip(path: str, reason: str) -> None:
            unseen.append(path)
            self._note_skipped(path, reason)

        outputs = list(files_below(self._work, OUTPUTS_DIRECTORY, skip))
        gone = self._sent - {found.path for found in outputs}
        is_there = os.path.isdir(self._work)
        self._gone = {path for path in gone if is_there and not _is_below(path, unseen)}
        return outputs

    def _drop_gone(self) -> bool:
        """Have the server drop what is gone; return whether that makes room."""
        gone = sorted(self._gone)
        for start in range(0, len(gone), OFFERED_AT_ONCE):
            part = {"files": [], "removed": gone[start : start + OFFERED_AT_ONCE]}
            try:
                self._connection.call(self._http, "POST", "outputs", part)
            except RequestRefused as refused:
                self._note(f"outputs that were removed are still kept: {refused}")
        for path in {*gone, *self._refused} if gone else ():
            self._stored.pop(path, None)
        self._sent -= self._gone
        self._gone = set()
        return bool(gone)

    def _is_sent(self, found: FoundFile, digest: str) -> bool:
        """Send an output, once more where what is gone took its room."""
        try:
            return self._is_uploaded("output", found, digest)
        except RequestRefused:
            if self._drop_gone():
                return self._is_uploaded("output", found, digest)
            self._refused.add(found.path)
            raise

    def _offer(self, changed: list[FoundFile]) -> None:
        """Send of some files those that the web process has not got."""
        offers: list[tuple[FoundFile, str]] = []
        for found in changed:
            digest = self._skipping_unreadable(found, found.digest)
            if digest:
                offers.append((found, digest))
        if offers:
            self._announce(offers)

    def _announce(self, offers: list[tuple[FoundFile, str]]) -> None:
        """Ask which files are missing, and send them. A list that is refused is asked in halves."""
        listed = [
            {"path": found.path, "size": found.size, "sha256": digest} for found, digest in offers
        ]
        try:
            answer = self._connection.call(self._http, "POST", "outputs", {"files": listed})
        except RequestRefused as refused:
            if len(offers) == 1:
                self._skip(offers[0][0], str(refused))
                return
            half = len(offers) // 2
            self._announce(offers[:half])
            self._announce(offers[half:])
            return
        not_kept = {entry["path"]: entry["reason"] for entry in answer.get("refused", ())}
        missing = set(answer["missing"])
        for found, digest in offers:
            if found.path in not_kept:
                self._skip(found, not_kept[found.path])
            elif found.path not in missing or self._skipping_unreadable(
                found, partial(self._is_sent, found, digest)
            ):
                self._stored[found.path] = found.version
                self._sent.add(found.path)
                self._refused.discard(found.path)

    def _skipping_unreadable(self, found: FoundFile, action: Callable[[], Any]) -> Any:
        """Do something with a file that may vanish, or that the web process may refuse."""
        if problem := self._problem_of(found):
            self._skip(found, problem)
            return None
        try:
            return action()
        except RequestRefused as refused:
            if found.is_unchanged():
                self._skip(found, str(refused))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._skip(found, reason_of(error))
        return None

    def _skip(self, found: FoundFile, reason: str) -> None:
        """Leave a file out until it changes."""
        self._stored[found.path] = found.version
        growth = self._uploaded_prefixes.setdefault(found.path, UploadedPrefix(found.version[0], 0))
        growth.version = found.version
        self._note_skipped(found.path, reason)


def _is_below(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
