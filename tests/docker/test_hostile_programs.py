"""One hostile program in a container tries all that it should not reach, and reports what it did.

docs/security.md names these tests for each cell of its table.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from runner import procfs
from tests.docker.stage import SLEEPS, Yard, python
from tests.runner.web import until

pytestmark = pytest.mark.docker
MEBIBYTE = 1024**2
MEMORY = 256 * MEBIBYTE

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
    "other run": [host for host in told["others"] if connects(host, 2222)],
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


@pytest.fixture
def report(yard: Yard, tmp_path: Path) -> dict[str, Any]:
    """Run the program beside another run, and return what it reached."""
    answers = f"import socket; s = socket.create_server(('', 2222))\n{SLEEPS}"
    other = yard.group(python(answers)).start()
    until(lambda: b"up" in other.told[0].log, "the other run to listen")
    with yard.engine.client() as client:
        networks = client.api.inspect_container(yard.container(other))["NetworkSettings"]
        (network,) = networks["Networks"].values()
        gateway = client.api.inspect_network("bridge")["IPAM"]["Config"][0]["Gateway"]
    secret = Path(yard.access.home) / "secret_key"
    secret.write_text("secret")
    marker = f"outlives-{tmp_path.name}-{os.getpid()}"
    group = yard.group(python(""), memory_bytes=MEMORY)
    told = {
        "sockets": ["/var/run/docker.sock", "/run/docker.sock", str(yard.engine.socket)],
        "gateway": gateway,
        "others": [network["IPAddress"], f"worker-0.ty-{other.label}", yard.container(other)],
        "home": [str(secret), yard.access.home],
        "memory": MEMORY,
        "disk": 8 * MEBIBYTE,
        "token": f"{group.label}-worker-0",
        "marker": marker,
    }
    group.told[0].spec["command"] = ["python", "-c", PROGRAM, json.dumps(told)]
    group.start()
    group.until_collected()
    lines = group.told[0].log.decode().splitlines()
    found: dict[str, Any] = json.loads(next(line for line in lines if line.startswith("{")))
    found["exit"] = (group.told[0].ending or {}).get("exit_code")
    until(lambda: not _named(marker), "the program's daemon to end")
    return found


def _named(marker: str) -> list[int]:
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


def test_a_hostile_program_reaches_nothing_that_is_not_its_own(report: dict[str, Any]) -> None:
    reached = {
        name: report[name]
        for name in ("engine sockets", "engine ports", "other run", "home", "disks")
    }
    assert not any(reached.values()), reached
    assert report["user"] == 10001
    assert report["shadow"] == "PermissionError"
    assert report["core pattern"] in ("OSError", "PermissionError")
    assert report["release agents"] == []
    assert report["mount"] == -1
    assert report["processes"] is True
    assert report["memory"] == -9
    assert 0 < int(report["pids"]) <= 100_000
    assert report["exit"] == 7


def test_what_a_container_does_not_keep_from_it(report: dict[str, Any]) -> None:
    """Its own runner's token, with which it can say that it ended well, and room on the disk."""
    assert report["own token"] is True
    assert report["disk"] == 8 * MEBIBYTE
