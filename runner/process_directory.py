"""The directory of a process: its files, and the lock of the runner that works on it.

Shared by the runner and the backends that start runners.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from runner.constants import GRACE_FILE, NOTE_PREFIX, SETTINGS_FILE, WORK_DIRECTORY
from runner.found_files import open_regular

# struct flock: type, whence, start, length, pid. Locks of the open file description are passed on
# to a runner when it is started, so that there is no moment in which its folder seems free.
_FLOCK = "hhqqi4x"
MAX_JSON_BYTES = 64 << 20
PUNCH_HOLE = 0x03  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE


class ProcessDirectory:
    """Paths below one process's folder, by what they hold."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.settings = os.path.join(path, SETTINGS_FILE)
        self.spec = os.path.join(path, "spec.json")
        self.lock = os.path.join(path, "lock")
        self.pid = os.path.join(path, "pid")
        self.grace = os.path.join(path, GRACE_FILE)
        self.launched = os.path.join(path, "launched")
        self.exit_record = os.path.join(path, "exit.json")
        self.collected = os.path.join(path, "collected")
        self.recovery_attempts = os.path.join(path, "salvages")
        self.spool = os.path.join(path, "spool.log")
        self.runner_log = os.path.join(path, "runner.log")
        self.resume = os.path.join(path, "resume")
        self.work = os.path.join(path, WORK_DIRECTORY)
        self.variables = os.path.join(path, "variables.json")
        self.secrets = os.path.join(path, "secrets")
        self.mpi = os.path.join(path, "mpi")
        self.ranks = os.path.join(path, "ranks")

    def rank_spool(self, number: int) -> str:
        """Return the file that a rank of an MPI run writes to."""
        return os.path.join(self.ranks, f"{number}.log")

    def try_lock(self) -> int | None:
        """Lock the folder; gives the lock, to be kept open, or None when another holds it."""
        lock = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLK, wanted)
        except (BlockingIOError, PermissionError):
            os.close(lock)
            return None
        return lock

    def is_locked(self) -> bool:
        """Return whether a runner works on the folder, without taking it even for a moment."""
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
    """Return the object in a JSON file, or None when there is none.

    A program may put anything in the place of a file of its runner, and nobody waits for it.
    """
    try:
        with open(open_regular(path), encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_size > MAX_JSON_BYTES:
                return None
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: str, content: dict[str, Any]) -> None:
    """Write a JSON file that is complete or absent, also after a crash of the machine."""
    write_text(path, json.dumps(content))


def write_text(path: str, text: str) -> None:
    """Write a file that is complete or absent. Raises OSError, and waits for nothing."""
    draft = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, path)


def write_secrets(
    folder: ProcessDirectory, secrets: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Write those secrets that are files; return the environment variables of all."""
    variables = {}
    for name, secret in secrets.items():
        if not secret["file"]:
            variables[name] = secret["value"]
            continue
        os.makedirs(folder.secrets, mode=0o700, exist_ok=True)
        variables[name] = os.path.join(folder.secrets, secret["file"])
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with open(os.open(variables[name], flags, 0o600), "wb") as file:
            file.write(secret["value"].encode())
    return variables


def remove_secrets(folder: ProcessDirectory) -> None:
    """Remove what holds secrets, once the program has ended.

    A program may have put anything in its place.
    """
    for place in (folder.secrets, folder.variables):
        with suppress(OSError):
            # rmtree would wait for whoever writes into a pipe.
            if stat.S_ISDIR(os.lstat(place).st_mode):
                shutil.rmtree(place, ignore_errors=True)
            else:
                os.remove(place)


def append_note(path: str, text: str) -> None:
    """Append a line of the runner's own to a log. Raises OSError where that is no file."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(os.open(path, flags, 0o600), "ab") as file:
        file.write(f"{NOTE_PREFIX}{text}\n".encode("utf-8", "backslashreplace"))


def read_tail(path: str, size: int) -> bytes:
    """Return the last bytes of a regular file, or none where there is no such file."""
    try:
        with open(open_regular(path), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read(size)
    except OSError:
        return b""


def free_start(path: str, size: int) -> None:
    """Free the disk space of the first bytes of a file, which then read as zeros.

    The file keeps its size, so that whoever appends to it notices nothing.
    """
    if size <= 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            libc.fallocate(file, PUNCH_HOLE, ctypes.c_int64(0), ctypes.c_int64(size))
        finally:
            os.close(file)
    except (OSError, AttributeError):  # no such file any more, or no such call on this system
        return


def touch(path: str) -> None:
    """Create an empty file, as a mark that something is done."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    os.close(os.open(path, flags, 0o600))
