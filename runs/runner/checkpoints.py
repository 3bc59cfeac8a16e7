"""Keep a folder of checkpoints in step with the web process, where machines share no disk.

The web process holds the union of what all processes of a run keep; each fetches it at the start,
and sends what it changes while its program runs and at the end.
"""

from __future__ import annotations

import os
import re
import threading

from runs.runner.files import Found, Note, Version, digest_of, files_below, is_unchanged, quoted
from runs.runner.line import Line
from runs.runner.source import unpack
from runs.runner.wire import Refused, Unreachable

EVERY_SECONDS = 2.0
# TensorFlow's own names: what it has not finished writing, and the file that names the checkpoint
# to go on from, which must not come before what it names.
UNFINISHED = re.compile(r"_temp/|\.tmp[^/]*$|\.tempstate[^/]*$")
POINTER = "checkpoint"


class CheckpointKeeper(threading.Thread):
    """Sends what changes in `folder`; one that `decides` also has the web process forget files.

    Others have it forget only what they sent themselves.
    """

    def __init__(self, line: Line, folder: str, *, decides: bool, note: Note) -> None:
        super().__init__(name="checkpoints", daemon=True)
        self._line = line
        self._wire = line.open()
        self._parent, self._name = os.path.split(folder)
        self._decides = decides
        self._note = note
        self._stored: dict[str, Version] = {}
        self._own: set[str] = set()
        self._noted: set[str] = set()
        self._over = threading.Event()
        self.problem: Exception | None = None

    def fetch(self) -> None:
        """Bring everything here that there is; before the thread and the program start."""
        os.makedirs(os.path.join(self._parent, self._name), exist_ok=True)
        self._line.insist(self._download)
        self._stored = {found.path: found.version for found in self._found()}

    def finish(self) -> None:
        """Return when all is stored; the program must have ended."""
        self._over.set()
        self.join()
        if self.problem is not None:
            raise self.problem

    def run(self) -> None:
        try:
            is_over = False
            while not is_over:
                is_over = self._over.wait(EVERY_SECONDS)
                self._send_changes()
            self._wire.close()
        except Exception as problem:
            self.problem = problem

    def _download(self) -> None:
        tar = self._wire.download("checkpoints")
        try:
            unpack(tar.read, self._parent)
        except OSError as error:
            self._wire.close()
            raise Unreachable(f"GET checkpoints: {error}") from error

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

    def _is_sent(self, found: Found) -> bool:
        """Send a file unless it is stored; False when it changed meanwhile."""
        if self._stored.get(found.path) == found.version:
            return True
        try:
            found.path.encode()
            digest = digest_of(found)
            if not digest or not self._upload(found, digest):
                return False
        except FileNotFoundError:
            return True
        except UnicodeEncodeError:
            self._leave_out(found, "its name is not UTF-8")
        except Refused as refused:
            if not is_unchanged(found):
                return False
            self._leave_out(found, str(refused))
        except OSError as error:
            self._leave_out(found, str(error))
        else:
            self._own.add(found.path)
        self._stored[found.path] = found.version
        return True

    def _upload(self, found: Found, digest: str) -> bool:
        query = f"checkpoint?path={quoted(found.path)}&sha256={digest}&size={found.size}"
        with open(found.place, "rb") as file:

            def attempt() -> bool:
                try:
                    self._wire.upload(query, file, found.size)
                except Unreachable:
                    if not is_unchanged(found):
                        return False
                    raise
                return True

            return self._line.insist(attempt)

    def _forget(self, gone: set[str]) -> None:
        ours = sorted(gone if self._decides else gone & self._own)
        if ours:
            self._line.call(self._wire, "POST", "checkpoints", {"removed": ours})
        for path in gone:
            del self._stored[path]
        self._own -= gone

    def _leave_out(self, found: Found, reason: str) -> None:
        if found.path not in self._noted:
            self._noted.add(found.path)
            name = found.path.encode("utf-8", "backslashreplace").decode()
            self._note(f"{name} was not kept: {reason}")

    def _found(self) -> list[Found]:
        return list(files_below(self._parent, self._name))


def _is_pointer(found: Found) -> bool:
    return os.path.basename(found.path) == POINTER
