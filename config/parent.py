"""Ties the life of a process to that of its parent, by the kernel."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent is gone; children do not inherit this."""
    if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(1)


def show_as(name: str) -> None:
    """Name this process in `ps -o comm` and `top`; the kernel keeps 15 characters."""
    _libc.prctl(PR_SET_NAME, name.encode()[:15])
