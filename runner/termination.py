"""How a program ended, in the words that a person will read after the name of its process."""

from __future__ import annotations

import os
import signal

from runner.constants import (
    KILLED,
    MAX_REASON_CHARACTERS,
    OUT_OF_MEMORY,
    exit_code_of,
    is_exit_code,
)
from runner.process_directory import read_tail

TAIL_BYTES = 4096
RECORD_BYTES = 64 * 1024
MEMORY_WORDS = (b"MemoryError", b"std::bad_alloc", b"OOM when allocating")
GIGABYTE = 10**9
MEGABYTE = 10**6


class Termination:
    """An exit code (as `exit_code_of` has it), why, and whether memory ran out.

    `was_stopped` tells that the runner was sent a signal to end.
    """

    def __init__(self, exit_code: int, reason: str = "", *, out_of_memory: bool = False) -> None:
        self.exit_code = exit_code
        self.reason = reason
        self.out_of_memory = out_of_memory
        self.was_stopped = False


def termination_of(status: int, spool: str, *, kernel_killed: bool) -> Termination:
    """Read a wait status, with the end of the log and the kernel's count of kills for memory."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL and kernel_killed:
            return Termination(KILLED, OUT_OF_MEMORY, out_of_memory=True)
        reason = killed_by(number)
        may_be_memory = number == signal.SIGABRT
    else:
        reason = ""
        may_be_memory = status != 0
    code = exit_code_of(status)
    words = _memory_words(spool) if may_be_memory else ""
    if words:
        return Termination(code, f"its log ends with {words!r}", out_of_memory=True)
    return Termination(code, reason)


def read_termination(path: str) -> Termination | None:
    """Read how a program ended where its runner wrote it down; a program may write there too."""
    import json

    try:
        recorded = json.loads(read_tail(path, RECORD_BYTES))
    except (ValueError, RecursionError):
        return None
    if not isinstance(recorded, dict) or not is_exit_code(recorded.get("exit_code")):
        return None
    reason = recorded.get("reason")
    ending = Termination(
        recorded["exit_code"],
        reason[:MAX_REASON_CHARACTERS] if isinstance(reason, str) else "",
        out_of_memory=recorded.get("out_of_memory") is True,
    )
    ending.was_stopped = recorded.get("was_stopped") is True
    return ending


def server_timeout_exceeded(seconds: float) -> Termination:
    return Termination(KILLED, f"was killed: the server did not answer for {seconds:g} s")


def memory_limit_exceeded(used: int, limit: int) -> Termination:
    unit, name = (GIGABYTE, "GB") if limit >= GIGABYTE else (MEGABYTE, "MB")
    reason = f"used {used / unit:.1f} {name} of {limit / unit:.1f} {name} allowed"
    return Termination(KILLED, reason, out_of_memory=True)


def grace_period_exceeded(grace_seconds: float) -> Termination:
    reason = f"{killed_by(signal.SIGKILL)}: it had not ended {grace_seconds:g} s after SIGTERM"
    return Termination(KILLED, reason)


def killed_by(number: int) -> str:
    """Return that a signal ended a program, with its number and name."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "a real-time signal"
    return f"was killed by signal {int(number)} ({name})"


def _memory_words(spool: str) -> str:
    """Find the words for it of Python, C++ or TensorFlow in the last that was printed."""
    tail = read_tail(spool, TAIL_BYTES)
    return next((words.decode() for words in MEMORY_WORDS if words in tail), "")
