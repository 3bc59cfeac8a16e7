"""A program that gives itself limits and no network, and then becomes another program.

Started as `python -I errand_start.py LIMITS PROGRAM ARGUMENT...`, LIMITS being JSON with
memory_bytes, cpu_seconds and file_bytes. It imports nothing of the checkout.
"""

import ctypes
import json
import os
import resource
import signal
import sys

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SET_DEATH_SIGNAL = 1


def main(limits: dict[str, int], command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(SET_DEATH_SIGNAL, signal.SIGKILL)  # with the worker that started us
    kinds = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if libc.unshare(kinds):
        why = os.strerror(ctypes.get_errno())
        print(f"The network cannot be cut off on this machine: {why}.", flush=True)
    for name, value in (
        (resource.RLIMIT_DATA, limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))
    os.execv(sys.executable, [sys.executable, "-I", *command])  # noqa: S606 - that is its purpose


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
