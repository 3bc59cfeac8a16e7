"""What this machine has: cores, memory, GPUs, free ports."""

import json
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from workspace.compute.base import Gpu, Node

MEBIBYTE = 1024 * 1024
GPUS_KEPT_SECONDS = 60
GPU_FACTS = "index,uuid,name,memory.total,driver_version"
# Below the range that the kernel gives to outgoing connections, so that none of those takes a port
# between the choice and the bind.
PORTS = range(20000, 32000)
NO_MPIRUN = (
    "mpirun is not installed on this machine: run apt-get install openmpi-bin, or use a target that"
    " runs containers."
)


def look() -> Node:
    """Give this machine as a node, with what this process may use of it."""
    return Node(
        name=socket.gethostname(),
        cpus=float(len(os.sched_getaffinity(0))),
        memory_bytes=_memory_bytes(),
        gpus=_gpus(int(time.monotonic() // GPUS_KEPT_SECONDS)),
    )


def has_mpirun() -> bool:
    """Say whether Open MPI is installed here, for runs of the mode mpi without containers."""
    return shutil.which("mpirun") is not None


def free_port(taken: Collection[int], wished: Sequence[int] = ()) -> int:
    """Give a port that nothing listens on and nobody was given before; a wished one if it is so."""
    for port in wished[:1]:
        if port not in taken and _can_listen(port, is_again=True):
            return port
    for port in random.sample(PORTS, len(PORTS)):
        if port not in taken and _can_listen(port):
            return port
    raise OSError(f"No port from {PORTS[0]} to {PORTS[-1]} is free.")


def ports_of(addresses: Iterable[str]) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in addresses]


def ports_in(path: Path) -> dict[str, list[int]]:
    """Read which ports the processes of a group were given."""
    try:
        given: dict[str, list[int]] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return given


def _can_listen(port: int, *, is_again: bool = False) -> bool:
    """Try a port; of one that was listened on before, closing connections may be left."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            with socket.socket(family, socket.SOCK_STREAM) as tried:
                if family == socket.AF_INET6:
                    tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if is_again:
                    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind((address, port))
        except OSError:
            if family == socket.AF_INET or socket.has_dualstack_ipv6():
                return False
    return True


def _memory_bytes() -> int:
    """Give the machine's memory, or the limit of the container that we are in where it is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            return min(total, int(Path(limit).read_text()))
    return total


@lru_cache(maxsize=1)
def _gpus(period: int) -> tuple[Gpu, ...]:
    """Ask the driver's tool for GPUs; it takes a while, so the answer serves for a `period`."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            [tool, f"--query-gpu={GPU_FACTS}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return gpus_in(answer)


def gpus_in(answer: str) -> tuple[Gpu, ...]:
    """Read what the driver's tool answers when it is asked for GPU_FACTS."""
    return tuple(_gpu(line) for line in answer.splitlines() if line.count(",") == 4)


def _gpu(line: str) -> Gpu:
    index, uuid, model, memory, driver = (part.strip() for part in line.split(","))
    size = int(memory) * MEBIBYTE if memory.isdigit() else 0
    return Gpu(int(index), uuid, model, size, driver)
