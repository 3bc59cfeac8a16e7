"""The folder of a process: what is kept in it, and who may work on it.

The backend that starts runners and the runner itself share this page.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from typing import Any

# struct flock: type, whence, start, length, pid. Locks of the open file description are passed on
# to a runner when it is started, so that there is no moment in which its folder seems free.
_FLOCK = "hhqqi4x"


class Folder:
    """Paths below one process's folder, by what they hold."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.settings = os.path.join(path, "runner.json")
        self.spec = os.path.join(path, "spec.json")
        self.lock = os.path.join(path, "lock")
        self.pid = os.path.join(path, "pid")
        self.grace = os.path.join(path, "grace")
        self.launched = os.path.join(path, "launched")
        self.ending = os.path.join(path, "exit.json")
        self.collected = os.path.join(path, "collected")
        self.salvages = os.path.join(path, "salvages")
        self.spool = os.path.join(path, "spool.log")
        self.runner_log = os.path.join(path, "runner.log")
        self.resume = os.path.join(path, "resume")
        self.work = os.path.join(path, "work")
        self.variables = os.path.join(path, "variables.json")
        self.mpi = os.path.join(path, "mpi")
        self.ranks = os.path.join(path, "ranks")

    def rank_spool(self, number: int) -> str:
        """Give the file that a rank of an MPI run writes to."""
        return os.path.join(self.ranks, f"{number}.log")

    def take(self) -> int | None:
        """Lock the folder; gives the lock, to be kept open, or None when another holds it."""
        lock = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLK, wanted)
        except (BlockingIOError, PermissionError):
            os.close(lock)
            return None
        return lock

    def is_taken(self) -> bool:
        """Say whether a runner works on the folder, without taking it even for a moment."""
        try:
            lock = os.open(self.lock, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(lock, fcntl.F_OFD_GETLK, asked)
        finally:
            os.close(lock)
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def read_json(path: str) -> dict[str, Any] | None:
    """Give what a file holds, or None when there is no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            content: dict[str, Any] = json.load(file)
            return content
    except FileNotFoundError:
        return None


def write_json(path: str, content: dict[str, Any]) -> None:
    """Write a file that is whole or not there, also after a crash of the machine."""
    draft = f"{path}.new"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, path)


def mark(path: str) -> None:
    """Leave an empty file that says that something has been done."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
