"""Start the program when the others of its group are known, and leave nothing of it behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from runner import procfs
from runner.constants import KILLED, NOT_FOUND

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CLEAN_UP_SECONDS = 10.0
NAME_PAUSE_SECONDS = 0.05
NAME_NOTE_SECONDS = 60.0
_libc = ctypes.CDLL(None)


class ProgramStartFailed(Exception):
    """The program could not be started; the text says why."""


def become_subreaper() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_no_new_privileges() -> None:
    """Have no program below gain rights that this process has not, by whatever it executes."""
    _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def terminate_with_parent() -> None:
    """Be told to end when the parent ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def start(command: Sequence[str], environment: Mapping[str, str], work: str, spool: str) -> int:
    """Start the program in a session of its own, writing to the spool, and return its number.

    It is killed when this thread ends. No other thread may be running yet.
    """
    runner = os.getpid()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become(command, environment, work, spool, runner)
        except BaseException as error:
            os.write(tell, str(error).encode("utf-8", "replace")[:2000])
        finally:
            os._exit(NOT_FOUND)
    os.close(tell)
    with open(told, "rb") as answer:
        problem = answer.read()
    if problem:
        os.waitpid(child, 0)
        raise ProgramStartFailed(problem.decode("utf-8", "replace"))
    return child


def _become(
    command: Sequence[str], environment: Mapping[str, str], work: str, spool: str, runner: int
) -> None:
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != runner:
        os._exit(KILLED)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    output = os.open(spool, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(work)
    os.execvpe(command[0], list(command), dict(environment))  # noqa: S606 - no shell is wanted


def signal_group(child: int, number: int) -> None:
    """Signal the program and all in its process group."""
    try:
        os.killpg(child, number)
    except (ProcessLookupError, PermissionError):
        return


def kill_all() -> dict[int, int]:
    """Kill and take in all that descends from this runner; gives wait statuses as `reap` does."""
    deadline = time.monotonic() + CLEAN_UP_SECONDS
    pause = 0.001
    ended = reap()
    while left := procfs.descendants(os.getpid()):
        for process in left:
            procfs.send_signal(process, signal.SIGKILL)
        ended.update(reap())
        if time.monotonic() > deadline:
            _tell_unkillable(left)
            break
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return ended


def _tell_unkillable(left: Sequence[procfs.ProcessStat]) -> None:
    numbers = ", ".join(str(process.pid) for process in left)
    sys.stderr.write(f"cannot be killed: {numbers}\n")


def reap() -> dict[int, int]:
    """Take in the children that have ended; gives the wait status of each by its number."""
    ended: dict[int, int] = {}
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if child == 0:
            return ended
        ended[child] = status


def wait_for_names(
    hosts: Sequence[str], note: Callable[[str], None], check: Callable[[], None]
) -> None:
    """Return when every name is known: a network of many machines learns them by and by.

    `check` raises what ends the waiting.
    """
    unknown = list(hosts)
    noted_at = time.monotonic()
    while True:
        unknown = [host for host in unknown if not _is_known(host)]
        if not unknown:
            return
        if time.monotonic() - noted_at > NAME_NOTE_SECONDS:
            note(f"still waits for {' and '.join(unknown)} to be known by name on the network")
            noted_at = time.monotonic()
        check()
        time.sleep(NAME_PAUSE_SECONDS)


def _is_known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
