"""Start the program, see how it ends, and leave nothing of it behind."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TAIL_BYTES = 4096
MEMORY_MARKS = (b"MemoryError", b"std::bad_alloc")
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Ending:
    """How a program ended; a death by signal N has exit code 128 + N."""

    exit_code: int
    reason: str = ""
    out_of_memory: bool = False


class Program:
    """The user's program with all that it starts. Its output goes straight to the spool file."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], work: Path, spool: Path
    ) -> None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.spool = spool
        self.stopped = False
        self.overrun = ""
        output = os.open(spool, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._child = subprocess.Popen(  # noqa: S603
                list(command),
                cwd=work,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        finally:
            os.close(output)
        self.pid = self._child.pid

    def wait(self) -> Ending:
        """Wait for the program, then end everything it left running."""
        code = self._child.wait()
        for pid in self._others():
            _signal(pid, signal.SIGKILL)
        while _reap_one():
            pass
        if self.overrun:
            return Ending(137, self.overrun, out_of_memory=True)
        if code >= 0:
            return Ending(code, "", code != 0 and self._tail_tells_of_memory())
        name = signal.Signals(-code).name
        reason = f"was killed by signal {-code} ({name})"
        if self.stopped:
            reason = f"was stopped ({name})"
        return Ending(128 - code, reason, self._tail_tells_of_memory())

    def stop(self, grace_seconds: float) -> None:
        """Ask the program to end, and end it by force when the grace has passed."""
        self.stopped = True
        self._signal_group(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline and self._child.returncode is None:
            time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        if self._child.returncode is None:
            self._signal_group(signal.SIGKILL)
            for pid in self._others():
                _signal(pid, signal.SIGKILL)

    def overran(self, reason: str) -> None:
        """End the program for having used more memory than it may."""
        self.overrun = reason
        self.kill()

    def tree(self) -> list[int]:
        return [self.pid, *self._others()]

    def _others(self) -> list[int]:
        """List what descends from this runner, the program itself left out."""
        return [pid for pid in _descendants(os.getpid()) if pid != self.pid]

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _tail_tells_of_memory(self) -> bool:
        with open(self.spool, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            tail = file.read()
        return any(mark in tail for mark in MEMORY_MARKS)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _reap_one() -> bool:
    """Take in one orphan that has ended; False when no child is left."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    if pid == 0:
        time.sleep(0.005)
    return True


def _descendants(pid: int) -> Iterator[int]:
    for task in _listing(f"/proc/{pid}/task"):
        for child in _words(f"/proc/{pid}/task/{task}/children"):
            yield int(child)
            yield from _descendants(int(child))


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _words(path: str) -> list[str]:
    try:
        return Path(path).read_text().split()
    except OSError:
        return []
