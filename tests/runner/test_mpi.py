"""What a launcher and the ranks of an MPI run do by themselves, without Open MPI."""

import os
import threading
from pathlib import Path

import pytest

from runs.runner.mpi import reason_in
from runs.runner.rank import Echo

FIRST_TO_FAIL = """\
mpirun detected that one or more processes exited with non-zero status, thus causing
the job to be terminated. The first process to do so was:

  Process name: [[25263,1],1]
  Exit code:    7
"""
FIRST_TO_FAIL_IN_5 = """\
prterun detected that one or more processes exited with non-zero status,
thus causing the job to be terminated. The first process to do so was:

   Process name: [prterun-vm-15925@1,1]
   Exit code:    7
"""
SIGNALLED = """\
mpirun noticed that process rank 2 with PID 0 on node vm exited on signal 9 (Killed).
"""
LOST = """\
ORTE has lost communication with a remote daemon.

  HNP daemon   : [[20163,0],0] on node launcher-0
  Remote daemon: [[20163,0],2] on node worker-1

This is usually due to either a failure of the TCP network
"""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("[rank 0] all is well\n", ""),
        (
            "[rank 0] [trainyard] was killed by signal 15 (SIGTERM), told to end\n"
            "[rank 3] [trainyard] ended with exit code 9\n" + FIRST_TO_FAIL,
            "rank 3 ended with exit code 9",
        ),
        (
            "[rank 1] [trainyard] was killed by signal 11 (SIGSEGV)\n",
            "rank 1 was killed by signal 11 (SIGSEGV)",
        ),
        (FIRST_TO_FAIL, "rank 1 ended with exit code 7"),
        (FIRST_TO_FAIL_IN_5, "rank 1 ended with exit code 7"),
        (SIGNALLED, "rank 2 was killed by signal 9 (SIGKILL)"),
        (LOST, "lost its connection to node worker-1"),
    ],
    ids=[
        "no failure",
        "a rank's own words",
        "a signal",
        "mpirun",
        "mpirun 5",
        "mpirun, signal",
        "lost",
    ],
)
def test_the_rank_at_fault_is_read_from_what_was_said_last(tmp_path: Path, log: str, reason: str):
    spool = tmp_path / "spool.log"
    spool.write_text("x" * 100_000 + "\n" + log)
    assert reason_in(str(spool)) == reason


def test_every_line_of_a_rank_is_shown_whole_and_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spool = tmp_path / "0.log"
    lines = [f"line {number} {'x' * (number % 300)}" for number in range(2_000)]
    spool.write_text("\n".join(lines))
    reading, writing = os.pipe()
    shown = bytearray()

    def read_all() -> None:
        while piece := os.read(reading, 4096):
            assert piece.startswith(b"[rank 0] ")
            assert piece.endswith(b"\n")
            shown.extend(piece)

    reader = threading.Thread(target=read_all)
    reader.start()
    with open(writing, "w") as pipe:
        monkeypatch.setattr("sys.stderr", pipe)
        Echo(str(spool), b"[rank 0] ").finish()
    reader.join(30)
    assert bytes(shown).decode().splitlines() == [f"[rank 0] {line}" for line in lines]
