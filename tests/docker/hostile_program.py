"""A hostile program of a run: it tries all that it should not reach, and reports what it did."""

import json
from pathlib import Path
from typing import Any

from runner import procfs

MEBIBYTE = 1024**2
MEMORY = 256 * MEBIBYTE
DISK = 8 * MEBIBYTE
EXIT_CODE = 7

# The program of another run. A way out may take on a connection to any address: the word tells.
ANSWERS = """
import socket
server = socket.create_server(("", 2222))
print("up", flush=True)
while True:
    caller, _ = server.accept()
    caller.sendall(b"found")
"""
PROGRAM = """
import ctypes, glob, json, os, resource, socket, subprocess, sys, time
told = json.loads(sys.argv[1])

def attempt(act):
    try:
        return act()
    except Exception as error:
        return type(error).__name__

def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True

def hears(host, port):
    try:
        with socket.create_connection((host, port), timeout=2) as other:
            return other.recv(5) == b"found"
    except OSError:
        return False

def readable(path):
    return attempt(lambda: bool(open(path, "rb").read(1)))

def writable(path):
    return attempt(lambda: bool(open(path, "wb").write(b"|/tmp/x")))

def in_child(act):
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def take_memory():
    held = bytearray(2 * told["memory"])
    for at in range(0, len(held), 4096):
        held[at] = 1

def first(*paths):
    return next((open(path).read().strip() for path in paths if os.path.exists(path)), "")

libc = ctypes.CDLL(None, use_errno=True)
found = {
    "user": os.getuid(),
    "engine sockets": [path for path in told["sockets"] if os.path.exists(path)],
    "engine ports": [port for port in (2375, 2376, 4243) if connects(told["gateway"], port)],
    "other run": [host for host in told["others"] if hears(host, 2222)],
    "home": [path for path in told["home"] if os.path.exists(path)],
    "shadow": readable("/etc/shadow"),
    "disks": [path for path in glob.glob("/dev/[svn][dv]*") if os.path.exists(path)],
    "core pattern": writable("/proc/sys/kernel/core_pattern"),
    "release agents": [
        path for path in glob.glob("/sys/fs/cgroup/**/release_agent", recursive=True)
        if writable(path) is True
    ],
    "mount": libc.mount(b"none", b"/mnt", b"tmpfs", 0, None),
    "processes": sorted({int(name) for name in os.listdir("/proc") if name.isdecimal()})[-1] < 1000,
    "init": readable("/proc/1/environ"),
    "own token": any(
        told["token"] in open(path, errors="replace").read()
        for path in glob.glob("/trainyard/process/**", recursive=True)
        if os.path.isfile(path) and os.access(path, os.R_OK)
    ),
    "memory": in_child(take_memory),
    "pids": first("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
    "disk": attempt(lambda: open("/trainyard/process/big", "wb").write(bytes(told["disk"]))),
}
subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)", told["marker"]],
    start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
print(json.dumps(found), flush=True)
os._exit(7)
"""


def told_to(**told: Any) -> list[str]:
    """Return the command that runs it."""
    return ["python", "-c", PROGRAM, json.dumps({"memory": MEMORY, "disk": DISK, **told})]


def report_in(log: bytes) -> dict[str, Any]:
    lines = log.decode().splitlines()
    found: dict[str, Any] = json.loads(next(line for line in lines if line.startswith("{")))
    return found


def processes_named(marker: str) -> list[int]:
    """Return the processes of this machine, in containers too, that were started with a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and procfs.status_of(int(entry.name)):
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if marker.encode() in arguments:
                found.append(int(entry.name))
    return found


def check_reached_nothing(found: dict[str, Any]) -> None:
    """Check that the program reached nothing that is not its own."""
    reached = {
        name: found[name]
        for name in ("engine sockets", "engine ports", "other run", "home", "disks")
    }
    assert not any(reached.values()), reached
    assert found["user"] == 10001
    assert found["shadow"] == "PermissionError"
    assert found["core pattern"] in ("OSError", "PermissionError")
    assert found["release agents"] == []
    assert found["mount"] == -1
    assert found["processes"] is True
    assert found["memory"] == -9
    assert 0 < int(found["pids"]) <= 100_000


def check_kept(found: dict[str, Any]) -> None:
    """Check what no container keeps from it.

    It reads its own runner's token, with which it can say that it ended well, and fills the disk.
    """
    assert found["own token"] is True
    assert found["disk"] == DISK
