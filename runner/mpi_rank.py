"""One rank of an MPI run: its program, whose output is kept apart and shown to the launcher too."""

from __future__ import annotations

import fcntl
import math
import os
import signal
import struct
import sys
import termios
import time

from runner import program
from runner.constants import NOT_FOUND, exit_code_of
from runner.process_directory import ProcessDirectory, append_note, read_json
from runner.termination import killed_by

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD)
SHORTEST_PAUSE, LONGEST_PAUSE, PAUSE_GROWTH = 0.0005, 0.1, 1.3
READ_BYTES = 65536
# Open MPI passes on what it reads at once, up to this size. What is written as one piece when
# nothing waits is read as one piece, so that no line of another rank comes in between.
PIECE_BYTES = 4096
LONGEST_LINE = 256 * 1024
TOLD = ", told to end"
# mpirun ends all ranks as soon as one calls MPI_Abort, and tells that one too while it is leaving.
# It sends SIGTERM only then, and SIGKILL a second later.
LEAVING_SECONDS = 0.3
MPI_VARIABLES = ("OMPI_", "PMIX_", "PRTE_", "ORTE_", "OPAL_", "PMI_", "HFI_")


def run_rank(folder: ProcessDirectory) -> int:
    """Run the program of this rank as its node's runner would, and end as it ends."""
    program.terminate_with_parent()
    program.become_subreaper()
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    variables = dict(read_json(folder.variables) or {})
    variables.update(
        {name: value for name, value in os.environ.items() if name.startswith(MPI_VARIABLES)}
    )
    number = int(variables["OMPI_COMM_WORLD_RANK"])
    command = (read_json(folder.spec) or {})["command"]
    os.makedirs(folder.ranks, mode=0o700, exist_ok=True)
    spool = folder.rank_spool(number)
    echo = PrefixedOutput(spool, f"[rank {number}] ".encode())
    try:
        child = program.start(command, variables, folder.work, spool)
    except program.ProgramStartFailed as problem:
        append_note(spool, f"cannot start {command[0]}: {problem}")
        echo.finish()
        return NOT_FOUND
    status, was_told = _see_through(child, echo)
    if status:
        append_note(spool, f"{exit_text(status)}{TOLD if was_told else ''}")
    echo.finish()
    return _exit_like(status)


def exit_text(status: int) -> str:
    """Return how a program ended, in the words that the launcher looks for."""
    if os.WIFSIGNALED(status):
        return killed_by(os.WTERMSIG(status))
    return f"ended with exit code {os.WEXITSTATUS(status)}"


def _see_through(child: int, echo: PrefixedOutput) -> tuple[int, bool]:
    """Pass on signals and output until the program ends.

    Gives its wait status, and whether it was told to end before.
    """
    pause, was_told, tell_at = SHORTEST_PAUSE, False, math.inf
    while True:
        pause = SHORTEST_PAUSE if echo.step() else min(pause * PAUSE_GROWTH, LONGEST_PAUSE)
        got = signal.sigtimedwait(HANDLED, pause)
        ended = program.reap()
        if child in ended:
            program.kill_all()
            return ended[child], was_told
        if got and got.si_signo != signal.SIGCHLD:
            leaving = LEAVING_SECONDS if got.si_signo == signal.SIGTERM else 0
            tell_at = min(tell_at, time.monotonic() + leaving)
        if not was_told and time.monotonic() >= tell_at:
            program.signal_group(child, signal.SIGTERM)
            was_told = True


def _exit_like(status: int) -> int:
    """Die by the signal that the program died by, so that mpirun tells of it."""
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    number = os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    return exit_code_of(status)


class PrefixedOutput:
    """Shows a growing file on standard error, line by line, each with a mark before it."""

    def __init__(self, path: str, mark: bytes) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mark = mark
        self._ready = b""
        self._partial = b""

    def step(self) -> bool:
        """Show the next piece unless the last one still waits; say whether there may be more."""
        if not self._ready:
            self._read()
        if self._ready and not _waiting_in_pipe():
            piece = self._ready[:PIECE_BYTES]
            piece = piece[: piece.rfind(b"\n") + 1] or piece
            self._ready = self._ready[os.write(sys.stderr.fileno(), piece) :]
        return bool(self._ready)

    def finish(self) -> None:
        """Show all that is left, an unfinished last line too."""
        pause = SHORTEST_PAUSE
        try:
            while self.step() or self._read():
                signal.sigtimedwait((signal.SIGINT,), pause)
            if self._partial:
                self._ready, self._partial = self._mark + self._partial + b"\n", b""
                while self.step():
                    signal.sigtimedwait((signal.SIGINT,), pause)
        except BrokenPipeError:
            return

    def _read(self) -> bool:
        """Take in what the file has grown by; an unfinished line waits for its end."""
        if os.fstat(self._file).st_size < os.lseek(self._file, 0, os.SEEK_CUR):
            os.lseek(self._file, 0, os.SEEK_SET)  # the program cut it: `> /dev/stderr` does
        data = os.read(self._file, READ_BYTES)
        text = self._partial + data
        end = text.rfind(b"\n") + 1
        if len(text) - end > LONGEST_LINE:
            end = len(text)
        if end:
            lines = text[:end].removesuffix(b"\n").split(b"\n")
            self._ready += b"".join(self._mark + line + b"\n" for line in lines)
        self._partial = text[end:]
        return bool(data)


def _waiting_in_pipe() -> int:
    """Return how many bytes nobody has read yet of what was written to standard error."""
    try:
        answer = fcntl.ioctl(sys.stderr.fileno(), termios.FIONREAD, b"\0\0\0\0")
    except OSError:  # it is no pipe
        return 0
    return int(struct.unpack("i", answer)[0])
