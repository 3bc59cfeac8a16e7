"""MPI on this machine: mpirun for real, ranks that work together, each with a log of its own."""

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.config.server.launched import ROOT
from tests.product.product import Product
from tests.product.sources import program, script
from tests.product.steady_run import check_end

pytestmark = [
    pytest.mark.product,
    pytest.mark.tensorflow,
    pytest.mark.skipif(shutil.which("mpicxx") is None, reason="Open MPI is not installed"),
]
MPI = {"type": "mpi", "process_count_per_node": 3}
BUILD_SECONDS = 600
# Horovod takes minutes to build: its wheel is kept for the next session of tests.
WHEELS = Path.home() / ".cache" / "trainyard-tests" / "wheels"
HOROVOD_SECONDS = 1500
CHECKSUM = re.compile(r"rank \d: weights checksum ([0-9a-f]{16})")


def submit(product: Product, source: dict[str, str], **config: Any) -> int:
    return product.submit(source, distributed_training=MPI, **config)


def test_ranks_work_together_and_each_has_a_log_of_its_own(product: Product):
    number = submit(product, program("allreduce"), cpus_per_process=0.1)
    run = product.wait_for_end(number, BUILD_SECONDS)
    launched = product.log(number, "launcher-0").decode()
    assert run["status"] == "Completed", (run["end_detail"], launched)
    for rank in range(3):
        own = product.log(number, f"rank-{rank}").decode()
        assert f"rank {rank} of 3 on" in own
        assert "total 6" in own
        assert f"OMPI_COMM_WORLD_LOCAL_RANK={rank}\n" in own
        assert "OMPI_COMM_WORLD_LOCAL_SIZE=3\n" in own
        assert "AZ_BATCH_MASTER_NODE=127.0.0.1:" in own
        assert [f"[rank {rank}] {line}" for line in own.splitlines()] == [
            line for line in launched.splitlines() if line.startswith(f"[rank {rank}] ")
        ]
    files = {file["path"] for file in product.get(f"/runs/{number}/files")["files"]}
    assert {f"outputs/rank-{rank}.txt" for rank in range(3)} <= files
    check_end(product, number, run)


@pytest.mark.parametrize(
    ("text", "said", "exit_code"),
    [
        ("import os; os._exit(7)", "Rank 1 ended with exit code 7.", 7),
        (
            "import os; os.kill(os.getpid(), 11)",
            "Rank 1 was killed by signal 11 (SIGSEGV).",
            128 + signal.SIGSEGV,
        ),
        ("world.Abort(9)", "Rank 1 ended with exit code 9.", 9),
    ],
    ids=["exit code", "signal", "abort"],
)
def test_a_rank_that_fails_is_named_with_its_last_words(
    product: Product, text: str, said: str, exit_code: int
):
    source = script(
        "import time\n"
        "from mpi4py import MPI\n"
        "world = MPI.COMM_WORLD\n"
        "world.Barrier()\n"
        "if world.rank == 1:\n"
        "    print('last words', flush=True)\n"
        f"    {text}\n"
        "time.sleep(600)\n"
    )
    run = product.wait_for_end(submit(product, source), BUILD_SECONDS)
    assert run["status"] == "Failed"
    assert run["end_detail"]["message"] == said
    assert run["end_detail"]["process"] == "rank-1"
    assert run["end_detail"]["exit_code"] == exit_code
    assert "last words" in run["end_detail"]["lines"]
    check_end(product, run["number"], run)


def test_a_stop_gives_every_rank_the_whole_grace(product: Product):
    source = script(
        "import signal, sys, time\n"
        "from mpi4py import MPI\n"
        "def leave(*_):\n"
        "    print('saving', flush=True)\n"
        "    time.sleep(3)\n"
        "    print('saved', flush=True)\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "MPI.COMM_WORLD.Barrier()\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    number = submit(product, source, grace_seconds=30)
    product.wait_for_status(number, "Running", seconds=BUILD_SECONDS)
    for rank in range(3):
        product.wait_for_words(number, f"rank-{rank}")
    product.cancel(number)
    run = product.wait_for_end(number)
    assert run["status"] == "Canceled"
    for rank in range(3):
        assert product.log(number, f"rank-{rank}").decode().split() == ["ready", "saving", "saved"]
    check_end(product, number, run)


@pytest.mark.parametrize("example", ["mpi4py", "horovod"])
def test_ranks_of_an_example_end_with_the_same_weights(product: Product, example: str):
    WHEELS.mkdir(parents=True, exist_ok=True)
    if not (product.home / "wheels").exists():
        (product.home / "wheels").symlink_to(WHEELS)
    folder = ROOT / "examples" / example
    answer = product.send_run(folder, json.loads((folder / "run.json").read_text()))
    assert answer.status_code == 201, answer.text
    number = answer.json()["number"]
    run = product.wait_for_end(number, HOROVOD_SECONDS)
    logs = [product.log(number, f"rank-{rank}").decode() for rank in range(2)]
    assert run["status"] == "Completed", (run["end_detail"], logs)
    checksums = [CHECKSUM.findall(log) for log in logs]
    assert len(checksums[0]) == 1
    assert checksums[0] == checksums[1]
    files = {file["path"] for file in product.get(f"/runs/{number}/files")["files"]}
    assert "outputs/digits/saved_model.pb" in files
    check_end(product, number, run)
