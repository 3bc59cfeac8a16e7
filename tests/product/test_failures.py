"""A run that fails says which process, what happened, and its last words; and leaves nothing."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runner.process_directory import ProcessDirectory, write_json
from tests.product.product import Product
from tests.product.sources import script
from tests.product.steady_run import check_end

pytestmark = pytest.mark.product
TWO_WORKERS = {"type": "multi_worker", "worker_count": 2}
LEAVE_CHILDREN = """
import os, signal, sys, time
for is_daemon in (False, True):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if is_daemon:
            os.setsid()
            if os.fork():
                os._exit(0)
        os.write(1, b"left behind\\n")
        time.sleep(600)
while os.fstat(1).st_size < 2 * len("left behind\\n"):
    time.sleep(0.01)
"""
IGNORE_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
HEED_SIGTERM = """
import signal, sys, time
def leave(number, frame):
    print("saving", flush=True)
    open("outputs/kept.txt", "w").write("kept")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
time.sleep(600)
"""


def failed(product: Product, number: int, *, reason: str, process: str = "worker-0") -> Any:
    """Wait for a run to fail, and return what it says of that."""
    run = product.wait_for_end(number)
    assert run["status"] == "Failed"
    assert run["end_reason"] == reason, run["end_detail"]
    detail = run["end_detail"]
    assert detail["process"] == process
    assert process in detail["message"]
    check_end(product, number, run)
    return detail


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", 137, "SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", 139, "SIGSEGV"),
        ("import os; os.abort()", 134, "SIGABRT"),
        ("import sys; sys.exit(3)", 3, "exit code 3"),
        ("raise ValueError('no such layer')", 1, "exit code 1"),
    ],
)
def test_a_program_that_dies_is_told_of_with_its_last_lines(
    product: Product, text: str, code: int, said: str
) -> None:
    number = product.submit(script(f"for n in range(100): print(n, flush=True)\n{text}"))
    detail = failed(product, number, reason="process_failed")
    assert detail["exit_code"] == code
    assert said in detail["message"]
    assert len(detail["lines"]) == 30
    log = product.log(number).decode().splitlines()
    assert detail["lines"] == log[-30:]


def test_children_that_a_program_leaves_behind_end_with_it(product: Product) -> None:
    number = product.submit(script(LEAVE_CHILDREN))
    run = product.wait_for_end(number)
    assert run["status"] == "Completed", run["end_detail"]
    assert run["processes"][0]["exit_code"] == 0
    check_end(product, number, run)
    assert product.log(number) == b"left behind\n" * 2


def test_a_canceled_run_that_ignores_sigterm_is_killed_after_its_grace(product: Product) -> None:
    number = product.submit(script(IGNORE_SIGTERM), grace_seconds=1)
    product.wait_for_words(number)
    assert product.cancel(number).status_code == 202
    run = product.wait_for_end(number)
    assert run["status"] == "Canceled"
    check_end(product, number, run)
    assert run["processes"][0]["exit_code"] == 137


def test_a_canceled_run_may_save_its_work(product: Product) -> None:
    number = product.submit(script(HEED_SIGTERM), distributed_training=TWO_WORKERS)
    product.wait_for_words(number, "worker-0")
    product.wait_for_words(number, "worker-1")
    product.cancel(number)
    run = product.wait_for_end(number)
    assert run["status"] == "Canceled"
    check_end(product, number, run)
    assert product.log(number, "worker-1") == b"ready\nsaving\n"
    assert product.call("GET", f"/runs/{number}/files/outputs/kept.txt").text == "kept"
    assert product.cancel(number).status_code == 409


def test_a_queued_run_can_be_canceled(product: Product) -> None:
    product.call("PATCH", "/targets/local", json={"is_paused": True})
    try:
        number = product.submit(script("print('never')"))
        product.cancel(number)
        run = product.wait_for_end(number)
    finally:
        product.call("PATCH", "/targets/local", json={"is_paused": False})
    assert run["status"] == "Canceled"
    assert run["processes"] == []


def test_a_cancel_at_any_moment_ends_a_run_once(product: Product) -> None:
    chance = random.Random(1)  # noqa: S311 - repeatable, not secret
    for _ in range(12):
        number = product.submit(script("print('here')"), grace_seconds=1)
        time.sleep(chance.random() * 0.8)
        answer = product.cancel(number)
        run = product.wait_for_end(number)
        check_end(product, number, run)
        assert run["status"] == "Completed" or answer.status_code == 202, answer.text
        assert run["status"] in {"Completed", "Canceled"}


def test_a_program_that_takes_more_memory_than_it_asked_for_is_told_so(product: Product) -> None:
    text = "import time\nprint('greedy', flush=True)\nb = bytearray(400_000_000)\ntime.sleep(600)"
    number = product.submit(script(text), memory_gb=0.2)
    detail = failed(product, number, reason="out_of_memory")
    assert "memory" in detail["message"]
    assert detail["exit_code"] == 137
    assert detail["lines"] == ["greedy"]


def test_a_run_ends_at_its_maximum_duration(product: Product) -> None:
    number = product.submit(script(IGNORE_SIGTERM), max_run_duration_seconds=2, grace_seconds=1)
    run = product.wait_for_end(number)
    assert run["status"] == "Failed"
    assert run["end_reason"] == "time_limit"
    assert "maximum duration of 2 s" in run["end_detail"]["message"]
    check_end(product, number, run)


def test_a_process_that_never_comes_up_is_named_after_the_start_deadline(
    product: Product,
) -> None:
    product.call("PATCH", "/targets/local", json={"is_paused": True})
    number = product.submit(
        script("print('never')"), distributed_training=TWO_WORKERS, start_timeout_seconds=10
    )
    with _in_place_of_its_runner(product, number, "worker-1"):
        product.call("PATCH", "/targets/local", json={"is_paused": False})
        product.wait_for_status(number, "Finalizing", "Failed")
    run = product.wait_for_end(number)
    assert (run["status"], run["end_reason"]) == ("Failed", "never_came_up")
    assert run["end_detail"]["message"] == "worker-1 did not become ready within 10 s."
    assert not product.living(number)


@contextmanager
def _in_place_of_its_runner(product: Product, number: int, process: str) -> Iterator[None]:
    """Hold the folder of a process as a runner does that hangs before its first word."""
    path = product.home / "local" / f"run-{number}-1" / process
    path.mkdir(parents=True)
    folder = ProcessDirectory(str(path))
    write_json(folder.settings, {})
    lock = folder.try_lock()
    assert lock is not None
    try:
        yield
    finally:
        os.close(lock)


def test_a_runner_that_is_killed_takes_its_program_along_and_ends_the_run(
    product: Product,
) -> None:
    text = "import time\nfor n in range(10**6): print(n, flush=True); time.sleep(0.01)"
    number = product.submit(script(text), distributed_training=TWO_WORKERS)
    product.wait_for_words(number, "worker-1")
    os.kill(product.runner(number, "worker-1"), signal.SIGKILL)
    detail = failed(product, number, reason="process_failed", process="worker-1")
    assert "runner" in detail["message"]
    lines = product.log(number, "worker-1").decode().splitlines()
    assert lines == [str(n) for n in range(len(lines))]


def test_one_worker_that_dies_ends_the_others_and_is_the_one_named(product: Product) -> None:
    text = (
        "import os, sys, time\n"
        "print('here', flush=True)\n"
        "time.sleep(0.5)\n"
        "sys.exit(7) if os.environ['TRAINYARD_INDEX'] == '1' else time.sleep(600)"
    )
    number = product.submit(script(text), distributed_training=TWO_WORKERS, grace_seconds=1)
    detail = failed(product, number, reason="process_failed", process="worker-1")
    assert detail["exit_code"] == 7
    assert detail["lines"] == ["here"]


def test_an_environment_that_cannot_be_built_fails_the_run_in_the_words_of_the_resolver(
    product: Product,
) -> None:
    number = product.submit(script("print('never')"), pip_packages=["numpy==0.0.1"])
    run = product.wait_for_end(number)
    assert (run["status"], run["end_reason"]) == ("Failed", "environment_failed")
    assert any("numpy==0.0.1" in line for line in run["end_detail"]["lines"])
    assert b"numpy==0.0.1" in product.log(number, "build")
