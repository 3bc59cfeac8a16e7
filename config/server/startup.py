"""What must hold before anything is started, and the one sentence that says what does not."""

import errno
import fcntl
import os
import socket
import stat
import time
from io import FileIO
from pathlib import Path

BACKLOG = 2048
OTHERS = 0o077
READABLE = ("environments", "local")
PORT_TIMEOUT_SECONDS = 2.0


class StartupError(Exception):
    """Holds the sentence that the person at the terminal needs."""


def keep_files_private() -> None:
    """Let what this process and its children make be for their user alone."""
    os.umask(OTHERS)


def tighten(home: Path) -> str:
    """Take the home, and what an earlier version left in it, from all but its user.

    Folders that are tight already are not looked through again: what they hold was made since.
    Environments and the folders of running processes keep their modes, behind the home's own.
    Returns what could not be kept from others, in words.
    """
    readable = {str(home / name) for name in READABLE}
    problems: list[OSError] = []
    _tighten(home, problems)
    loose = [str(home)]
    while loose:
        for entry in _entries_of(loose.pop(), problems):
            if entry.is_symlink() or entry.path in readable:
                continue
            if _tighten(Path(entry.path), problems) and entry.is_dir(follow_symlinks=False):
                loose.append(entry.path)
    if not problems:
        return ""
    return (
        f"{problems[0].filename} cannot be kept from others ({problems[0].strerror}): run Trainyard"
        " as its owner."
    )


def _entries_of(folder: str, problems: list[OSError]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:  # removed meanwhile
        return []
    except OSError as error:
        problems.append(error)
        return []


def _tighten(path: Path, problems: list[OSError]) -> bool:
    """Take a file or folder from others; return whether it was theirs, too."""
    mode = 0
    try:
        mode = path.stat(follow_symlinks=False).st_mode
        if mode & OTHERS:
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)
    except FileNotFoundError:  # removed meanwhile
        return False
    except OSError as error:
        problems.append(error)
    return bool(mode & OTHERS)


def lock(home: Path) -> FileIO:
    """Hold the home against a second instance, for as long as the file that is given stays open."""
    file = FileIO(os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = file.read().decode().strip()
        raise StartupError(
            f"Trainyard is already running on {home} (process {holder}):"
            " stop it, or set TRAINYARD_HOME to another folder."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    return file


def listen(host: str, port: int, setting: str = "TRAINYARD_PORT") -> socket.socket:
    """Take the port of a setting; an instance that was killed may need a moment to let it go."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + PORT_TIMEOUT_SECONDS
    while True:
        try:
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise StartupError(_why_not(host, port, setting, error)) from error


def _why_not(host: str, port: int, setting: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is taken by another program:"
            f" stop it, or set {setting} to another port."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than you have: set {setting} to one above 1023."
    return (
        f"Cannot listen on {host} port {port}: {error.strerror}. Set TRAINYARD_BIND to an address"
        " of this machine."
    )


def check_grpc_port(host: str, port: int) -> None:
    """Raise StartupError where the web could not listen for gRPC; 0 asks for nothing."""
    if port:
        listen(host, port, "TRAINYARD_GRPC_PORT").close()
