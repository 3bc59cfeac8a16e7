"""What this machine has: cores, memory, GPUs, and whether it can start MPI programs."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from workspace.compute import nvidia
from workspace.compute.base import Gpu, Node

GPUS_KEPT_SECONDS = 60
NO_MPIRUN = (
    "mpirun is not installed on this machine: run apt-get install openmpi-bin, or use a target that"
    " runs containers."
)


def this_node() -> Node:
    """Return this machine as a node, with what this process may use of it."""
    return Node(
        name=socket.gethostname(),
        cpus=float(len(os.sched_getaffinity(0))),
        memory_bytes=_memory_bytes(),
        gpus=_gpus(int(time.monotonic() // GPUS_KEPT_SECONDS)),
    )


def has_mpirun() -> bool:
    """Return whether Open MPI is installed here, for runs of the mode mpi without containers."""
    return shutil.which("mpirun") is not None


def _memory_bytes() -> int:
    """Return the machine's memory, or this container's limit where that is less, in bytes."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            return min(total, int(Path(limit).read_text()))
    return total


@lru_cache(maxsize=1)
def _gpus(period: int) -> tuple[Gpu, ...]:
    """Ask the driver's tool for GPUs; it takes a while, so the answer serves for a `period`."""
    tool = shutil.which(nvidia.PROGRAM)
    if tool is None:
        return ()
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            [tool, *nvidia.QUERY], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return nvidia.gpus_in(answer)
