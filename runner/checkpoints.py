"""Keep a folder of checkpoints in step with the web process, where machines share no disk.

The web process holds the union of what all processes of a run keep; each fetches it at the start,
and sends what it changes while its program runs and at the end.
"""

from __future__ import annotations

import os
import re

from runner.found_files import FileVersion, FoundFile, files_below, reason_of
from runner.http_client import RequestRefused
from runner.server_connection import ServerConnection
from runner.uploader import FolderUploader, LogNote

EVERY_SECONDS = 2.0
REMOVED_AT_ONCE = 100
# TensorFlow's own names: what it has not finished writing, and the file that names the checkpoint
# to go on from, which must not come before what it names.
UNFINISHED = re.compile(r"_temp/|\.tmp[^/]*$|\.tempstate[^/]*$")
POINTER = "checkpoint"


class CheckpointSync(FolderUploader):
    """Sends what changes in `folder`; one that `decides` also has the web process forget files.

    Others have it forget only what they sent themselves.
    """

    def __init__(
        self,
        connection: ServerConnection,
        folder: str,
        *,
        decides: bool,
        note: LogNote,
        max_file_bytes: int | None,
    ) -> None:
        super().__init__("checkpoints", connection, note, max_file_bytes)
        self._parent, self._name = os.path.split(folder)
        self._decides = decides
        self._stored: dict[str, FileVersion] = {}
        self._own: set[str] = set()

    def fetch(self) -> None:
        """Bring everything here that there is; before the thread and the program start."""
        os.makedirs(os.path.join(self._parent, self._name), exist_ok=True)
        self._connection.fetch(self._http, "checkpoints", self._parent)
        self._stored = {found.path: found.version for found in self._found()}

    def upload(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._ended.wait(EVERY_SECONDS)
            self._send_changes()

    def _send_changes(self) -> None:
        """Send data, then what points to it, then what is gone.

        Pointers are looked for first, so that the data they name is among what is found after.
        """
        pointers = [found for found in self._found() if _is_pointer(found)]
        found_now = [found for found in self._found() if not UNFINISHED.search(found.path)]
        data = sorted(
            (found for found in found_now if not _is_pointer(found)),
            key=lambda found: found.path.endswith(".index"),
        )
        for changed in (data, pointers):
            are_sent = [self._is_sent(found) for found in changed]
            if not all(are_sent):
                return
        gone = self._stored.keys() - {found.path for found in found_now}
        if gone:
            self._forget(gone)

    def _is_sent(self, found: FoundFile) -> bool:
        """Send a file unless it is stored; False when it changed meanwhile."""
        if self._stored.get(found.path) == found.version:
            return True
        problem = self._problem_of(found)
        try:
            digest = "" if problem else found.digest()
            if not problem and not (digest and self._is_uploaded("checkpoint", found, digest)):
                return False
        except (FileNotFoundError, NotADirectoryError):
            return True
        except RequestRefused as refused:
            if not found.is_unchanged():
                return False
            problem = str(refused)
        except OSError as error:
            problem = reason_of(error)
        if problem:
            self._note_skipped(found.path, problem)
        else:
            self._own.add(found.path)
        self._stored[found.path] = found.version
        return True

    def _forget(self, gone: set[str]) -> None:
        ours = sorted(gone if self._decides else gone & self._own)
        for start in range(0, len(ours), REMOVED_AT_ONCE):
            part = ours[start : start + REMOVED_AT_ONCE]
            try:
                self._connection.call(self._http, "POST", "checkpoints", {"removed": part})
            except RequestRefused as refused:
                self._note(f"checkpoints that were removed are still kept: {refused}")
        for path in gone:
            del self._stored[path]
        self._own -= gone

    def _found(self) -> list[FoundFile]:
        return list(files_below(self._parent, self._name, self._note_skipped))


def _is_pointer(found: FoundFile) -> bool:
    return os.path.basename(found.path) == POINTER
