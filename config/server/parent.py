"""What a process is to the system: how it is named, when it is heard, whose end is its own."""

import ctypes
import io
import os
import signal
import sys

from setproctitle import setproctitle

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent is gone; children do not inherit this."""
    if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(1)


def print_lines_at_once() -> None:
    """Write each printed line when it is whole, though standard output is a pipe or a file."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def set_process_title(part: str) -> None:
    """Name this process in `ps` and `top` after the part that it runs: trainyard: worker 1."""
    setproctitle(title_of(part))


def title_of(part: str) -> str:
    return f"trainyard: {part.replace('-', ' ')}"
