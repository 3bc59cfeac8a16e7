"""What a launcher and the ranks of an MPI run do by themselves, without Open MPI."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runner.mpi import mpi_failure_reason
from runner.mpi_rank import PrefixedOutput
from runner.process_directory import ProcessDirectory, write_json
from tests.config.server.launched import ROOT

RANK = """\
import sys
from runner import mpi_rank as rank
from runner.process_directory import ProcessDirectory
rank.LEAVING_SECONDS = float(sys.argv[2])
sys.exit(rank.run_rank(ProcessDirectory(sys.argv[1])))
"""
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
ABORTED = """\
--------------------------------------------------------------------------
MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD
with errorcode 9.

NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.
"""
ABORTED_IN_5 = """\
--------------------------------------------------------------------------
MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD
  Proc: [[25263,1],1]
  Errorcode: -1

NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.
"""
ABORTED_AMONG_SOME = ABORTED.replace("MPI_COMM_WORLD", "MPI COMMUNICATOR 3 SPLIT FROM 0")
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
        (
            "[rank 1] [trainyard] ended with exit code 9, told to end\n" + ABORTED,
            "rank 1 ended with exit code 9",
        ),
        (ABORTED_IN_5, "rank 1 ended with exit code 255"),
        (
            ABORTED_AMONG_SOME + "[rank 3] [trainyard] ended with exit code 9\n",
            "rank 3 ended with exit code 9",
        ),
        (SIGNALLED, "rank 2 was killed by signal 9 (SIGKILL)"),
        (LOST, "lost its connection to node worker-1"),
    ],
    ids=[
        "no failure",
        "a rank's own words",
        "a signal",
        "mpirun",
        "mpirun 5",
        "an abort",
        "an abort, mpirun 5",
        "an abort by one of some",
        "mpirun, signal",
        "lost",
    ],
)
def test_the_rank_at_fault_is_read_from_what_was_said_last(tmp_path: Path, log: str, reason: str):
    folder = ProcessDirectory(str(tmp_path))
    Path(folder.spool).write_text("x" * 100_000 + "\n" + log)
    assert mpi_failure_reason(folder) == reason


def test_the_rank_at_fault_is_read_from_its_own_log_where_mpirun_lost_its_words(tmp_path: Path):
    folder = ProcessDirectory(str(tmp_path))
    os.mkdir(folder.ranks)
    Path(folder.spool).write_text("ORTE_ERROR_LOG: Out of resource in file show_help.c\n")
    for moment, (rank, note) in enumerate(
        [
            (0, "was killed by signal 15 (SIGTERM), told to end"),
            (12, "ended with exit code 9"),
            (2, "ended with exit code 1"),
        ]
    ):
        log = Path(folder.rank_spool(rank))
        log.write_text(f"[rank 3] [trainyard] ended with exit code 4\n[trainyard] {note}\n")
        os.utime(log, (moment, moment))
    assert mpi_failure_reason(folder) == "rank 12 ended with exit code 9"


@pytest.mark.parametrize(
    ("leaving_seconds", "program", "said", "code"),
    [
        (60, "os.kill(os.getppid(), signal.SIGTERM); os._exit(9)", "ended with exit code 9", 9),
        (
            0.1,
            "signal.signal(signal.SIGTERM, lambda *_: os._exit(3))\n"
            "os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)",
            "ended with exit code 3, told to end",
            3,
        ),
    ],
    ids=["while it leaves by itself", "while it works"],
)
def test_a_rank_that_mpirun_ends_says_whether_it_was_leaving_already(
    tmp_path: Path, leaving_seconds: float, program: str, said: str, code: int
):
    folder = ProcessDirectory(str(tmp_path))
    os.mkdir(folder.work)
    write_json(
        folder.spec,
        {"command": [sys.executable, "-c", f"import os, signal, time\n{program}"]},
    )
    write_json(folder.variables, {"OMPI_COMM_WORLD_RANK": "1"})
    rank = subprocess.run(
        [sys.executable, "-c", RANK, folder.path, str(leaving_seconds)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (rank.stderr, rank.returncode) == (f"[rank 1] [trainyard] {said}\n", code)


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
        PrefixedOutput(str(spool), b"[rank 0] ").finish()
    reader.join(30)
    assert bytes(shown).decode().splitlines() == [f"[rank 0] {line}" for line in lines]


def test_what_follows_a_cut_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spool = tmp_path / "0.log"
    spool.write_text("as in any program\n")
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as shown, open(writing, "w") as pipe:
        monkeypatch.setattr("sys.stderr", pipe)
        output = PrefixedOutput(str(spool), b"[rank 0] ")
        output.finish()
        assert shown.read(4096) == b"[rank 0] as in any program\n"
        spool.write_text("cut\n")
        output.finish()
        assert shown.read(4096) == b"[rank 0] cut\n"
