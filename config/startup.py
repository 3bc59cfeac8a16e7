"""What must hold before anything is started, and the one sentence that says what does not."""

import errno
import fcntl
import os
import socket
import time
from io import FileIO
from pathlib import Path

BACKLOG = 2048
PORT_PATIENCE_SECONDS = 2.0


class CannotStart(Exception):
    """Holds the sentence that the person at the terminal needs."""


def lock(home: Path) -> FileIO:
    """Hold the home against a second instance, for as long as the file that is given stays open."""
    file = FileIO(os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = file.read().decode().strip()
        raise CannotStart(
            f"Trainyard is already running on {home} (process {holder}):"
            " stop it, or set TRAINYARD_HOME to another folder."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    return file


def listen(host: str, port: int, setting: str = "TRAINYARD_PORT") -> socket.socket:
    """Take the port of a setting; an instance that was killed may need a moment to let it go."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + PORT_PATIENCE_SECONDS
    while True:
        try:
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise CannotStart(_why_not(host, port, setting, error)) from error


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
    """Raise CannotStart where the web could not listen for gRPC; 0 asks for nothing."""
    if port:
        listen(host, port, "TRAINYARD_GRPC_PORT").close()
