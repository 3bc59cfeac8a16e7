"""Ship what a process writes: its log as it grows, files under logs/, and outputs/."""

import hashlib
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runs.runner.client import Client, Refused

CHUNK = 1 << 20
SHORT_PAUSE_SECONDS = 0.01
LONG_PAUSE_SECONDS = 0.1
PARTIAL_LINE_SECONDS = 0.2
PARTIAL_LINE_BYTES = 256 * 1024
FILES_EVERY_SECONDS = 1.0
QUIET_SECONDS = 2.0


class LogShipper(threading.Thread):
    """Sends the spool as it grows, cut at ends of lines where that costs no time."""

    def __init__(self, client: Client, spool: Path) -> None:
        super().__init__(name="log", daemon=True)
        self._client, self._spool = client, spool
        self._ended = threading.Event()
        self._sent = 0
        self.error: BaseException | None = None

    def finish(self) -> None:
        """Send what is left, now that the program is over; return when all of it is stored."""
        self._ended.set()
        self.join()
        if self.error:
            raise self.error

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error

    def _run(self) -> None:
        pause = SHORT_PAUSE_SECONDS
        self._sent = self._client.call("POST", "log", b"", {"offset": 0})["size"]
        with open(self._spool, "rb") as file:
            partial_since = None
            while True:
                ended = self._ended.is_set()
                file.seek(self._sent)
                chunk = file.read(CHUNK)
                whole = chunk[: chunk.rfind(b"\n") + 1]
                now = time.monotonic()
                if len(whole) < len(chunk) and not whole:
                    partial_since = partial_since or now
                    waited = now - partial_since >= PARTIAL_LINE_SECONDS
                    if ended or waited or len(chunk) >= PARTIAL_LINE_BYTES:
                        whole = chunk
                if whole:
                    partial_since = None
                    answer = self._client.call("POST", "log", whole, {"offset": self._sent})
                    self._sent = answer["size"]
                    pause = SHORT_PAUSE_SECONDS
                elif ended:
                    return
                else:
                    self._ended.wait(pause)
                    pause = min(pause * 1.5, LONG_PAUSE_SECONDS)


@dataclass(frozen=True)
class Found:
    """A file as it was seen: `path` is relative to the working directory."""

    path: str
    place: str
    inode: int
    size: int
    modified_ns: int


class FileShipper(threading.Thread):
    """Sends files under logs/ as they grow, and those under outputs/ when they are quiet."""

    def __init__(self, client: Client, work: Path, spool: Path, *, outputs: bool) -> None:
        super().__init__(name="files", daemon=True)
        self._client, self._work, self._spool = client, work, spool
        self._outputs = outputs
        self._ended = threading.Event()
        self._growing: dict[str, tuple[int, int]] = {}
        self._stored: dict[str, tuple[int, int]] = {}
        self._refused: set[str] = set()
        self.error: BaseException | None = None

    def finish(self) -> None:
        """Send what is left, now that the program is over; return when all of it is stored."""
        self._ended.set()
        if self.ident is not None:
            self.join()
        if self.error:
            raise self.error
        self._ship_logs()
        self._ship_outputs(everything=True)

    def run(self) -> None:
        try:
            while not self._ended.wait(FILES_EVERY_SECONDS):
                self._ship_logs()
                self._ship_outputs(everything=False)
        except BaseException as error:
            self.error = error

    def _ship_logs(self) -> None:
        for file in _files_below(self._work, "logs"):
            with suppress(FileNotFoundError), self._refusal_noted(file):
                self._ship_growth(file)

    def _ship_growth(self, file: Found) -> None:
        inode, sent = self._growing.get(file.path, (file.inode, -1))
        restart = inode != file.inode or file.size < sent
        if sent < 0:
            sent = self._client.call("POST", "file", b"", {"path": file.path, "offset": 0})["size"]
            restart = file.size < sent
        with open(file.place, "rb") as source:
            if restart:
                sent = 0
                chunk = source.read(CHUNK)
                answer = self._client.call(
                    "POST", "file", chunk, {"path": file.path, "offset": 0, "restart": 1}
                )
                sent = answer["size"]
            while sent < file.size:
                source.seek(sent)
                chunk = source.read(CHUNK)
                if not chunk:
                    break
                sent = self._client.call(
                    "POST", "file", chunk, {"path": file.path, "offset": sent}
                )["size"]
        self._growing[file.path] = (file.inode, sent)

    def _ship_outputs(self, *, everything: bool) -> None:
        if not self._outputs:
            return
        quiet_before = time.time_ns() - int(QUIET_SECONDS * 1e9)
        changed = {
            file.path: file
            for file in _files_below(self._work, "outputs")
            if self._stored.get(file.path) != (file.size, file.modified_ns)
            and (everything or file.modified_ns < quiet_before)
        }
        offered = []
        for file in changed.values():
            with suppress(FileNotFoundError):
                digest = _digest_of(file.place)
                offered.append({"path": file.path, "size": file.size, "sha256": digest})
        for start in range(0, len(offered), 500):
            batch = offered[start : start + 500]
            missing = set(self._client.call("POST", "outputs", {"files": batch})["missing"])
            for item in batch:
                file = changed[str(item["path"])]
                with suppress(FileNotFoundError), self._refusal_noted(file):
                    if file.path in missing:
                        self._client.upload(
                            "output",
                            file.place,
                            file.size,
                            item | {"path": file.path},
                        )
                    self._stored[file.path] = (file.size, file.modified_ns)

    def _refusal_noted(self, file: Found) -> "_RefusalNoted":
        return _RefusalNoted(self, file)

    def note(self, file: Found, error: Refused) -> None:
        """Say in the process's own log, once, that a file was not taken."""
        self._stored[file.path] = (file.size, file.modified_ns)
        self._growing[file.path] = (file.inode, file.size)
        if file.path not in self._refused:
            self._refused.add(file.path)
            with open(self._spool, "ab") as spool:
                spool.write(f"trainyard: {file.path} was not stored: {error}\n".encode())
            sys.stderr.write(f"{file.path}: {error}\n")


class _RefusalNoted:
    def __init__(self, shipper: FileShipper, file: Found) -> None:
        self._shipper, self._file = shipper, file

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Refused):
            self._shipper.note(self._file, error)
            return True
        return False


def _files_below(work: Path, folder: str) -> Iterator[Found]:
    """Find regular files; links are not followed, so nothing outside the folder is sent."""
    for parent, folders, names in os.walk(work / folder):
        folders.sort()
        for name in sorted(names):
            place = os.path.join(parent, name)
            with suppress(FileNotFoundError):
                info = os.lstat(place)
                if stat.S_ISREG(info.st_mode):
                    path = os.path.relpath(place, work)
                    yield Found(path, place, info.st_ino, info.st_size, info.st_mtime_ns)


def _digest_of(place: str) -> str:
    with open(place, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
