"""How a program ended, in the words that a person will read after the name of its process."""

from __future__ import annotations

import os
import signal

TAIL_BYTES = 4096
KILLED = 128 + int(signal.SIGKILL)
MEMORY_WORDS = (b"MemoryError", b"std::bad_alloc", b"OOM when allocating")
GIGABYTE = 1024**3
MEGABYTE = 1024**2


class Ending:
    """An exit code (128 + N for a death by signal N), why, and whether memory ran out.

    `was_stopped` tells that the runner was sent a signal to end.
    """

    def __init__(self, exit_code: int, reason: str = "", *, out_of_memory: bool = False) -> None:
        self.exit_code = exit_code
        self.reason = reason
        self.out_of_memory = out_of_memory
        self.was_stopped = False


def ending_of(status: int, spool: str, *, kernel_killed: bool) -> Ending:
    """Read a wait status, with the end of the log and the kernel's count of kills for memory."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL and kernel_killed:
            return Ending(KILLED, "the system killed it for want of memory", out_of_memory=True)
        code, reason = 128 + number, f"was killed by signal {number} ({signal_name(number)})"
        may_be_memory = number == signal.SIGABRT
    else:
        code, reason = os.WEXITSTATUS(status), ""
        may_be_memory = code != 0
    words = _memory_words(spool) if may_be_memory else ""
    if words:
        return Ending(code, f"its log ends with {words!r}", out_of_memory=True)
    return Ending(code, reason)


def over_limit(used: int, limit: int) -> Ending:
    unit, name = (GIGABYTE, "GB") if limit >= GIGABYTE else (MEGABYTE, "MB")
    reason = f"used {used / unit:.1f} {name} of {limit / unit:.1f} {name} allowed"
    return Ending(KILLED, reason, out_of_memory=True)


def out_of_grace(grace_seconds: float) -> Ending:
    reason = f"was killed by signal 9 (SIGKILL): it had not ended {grace_seconds:g} s after SIGTERM"
    return Ending(KILLED, reason)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a real-time signal"


def _memory_words(spool: str) -> str:
    """Find the words for it of Python, C++ or TensorFlow in the last that was printed."""
    with open(spool, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - TAIL_BYTES))
        tail = file.read()
    return next((words.decode() for words in MEMORY_WORDS if words in tail), "")
