"""A gang that its machine broke starts again, whole, with what it had saved."""

import json
import os
import signal

import pytest

from tests.product.product import Product
from tests.product.sources import script
from tests.product.steady_run import check_end
from tests.waiting import wait_for

pytestmark = pytest.mark.product
TWO_WORKERS = {"type": "multi_worker", "worker_count": 2}
# Counts its attempts in the checkpoint folder; all but the last wait for what happens to them.
COUNT_ATTEMPTS = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
me = f"{os.environ['TRAINYARD_ROLE']}-{os.environ['TRAINYARD_INDEX']}"
counted = pathlib.Path(os.environ["TRAINYARD_CHECKPOINT_DIR"], me)
attempt = int(counted.read_text()) + 1 if counted.exists() else 1
counted.write_text(str(attempt))
print("attempt", attempt, os.environ["TF_CONFIG"], flush=True)
while attempt < LAST:
    time.sleep(0.05)
pathlib.Path("outputs", me).write_text(str(attempt))
"""


def count_attempts(last: int) -> dict[str, str]:
    return script(COUNT_ATTEMPTS.replace("LAST", str(last)))


def said(product: Product, number: int, process: str) -> bytes:
    return product.call("GET", f"/runs/{number}/logs/{process}").content


def wait_for_words(product: Product, number: int, process: str, words: bytes) -> None:
    wait_for(lambda: words in said(product, number, process), f"{words!r} of {process}", 60)


def test_a_gang_whose_worker_is_killed_starts_again_with_its_checkpoints_and_addresses(
    product: Product,
) -> None:
    number = product.submit(
        count_attempts(3), distributed_training=TWO_WORKERS, max_restarts=2, grace_seconds=5
    )
    told = []
    for attempt in (1, 2):
        words = f"attempt {attempt} ".encode()
        for worker in ("worker-0", "worker-1"):
            wait_for_words(product, number, worker, words)
        told.append(json.loads(said(product, number, "worker-0").split(maxsplit=2)[2]))
        living = product.living(number)
        if attempt == 1:
            victim = next(p.pid for p in living if not p.is_runner and p.process == "worker-1")
        else:
            victim = product.runner(number, "worker-1")
        os.kill(victim, signal.SIGKILL)
    run = product.wait_for_end(number)
    assert run["status"] == "Completed", run["end_detail"]
    check_end(product, number, run)
    assert run["restarts"] == 2
    told.append(json.loads(product.log(number, "worker-0").split(maxsplit=2)[2]))
    assert told[0] == told[1] == told[2], "TF_CONFIG stays"
    assert product.call("GET", f"/runs/{number}/files/outputs/worker-1").text == "3"
    first = product.call("GET", f"/runs/{number}/logs/attempt-1-worker-1").content
    assert first.startswith(b"attempt 1 "), "the logs of earlier attempts stay"
    assert not (product.home / "runs" / str(run["number"]) / "checkpoints").exists()


def test_a_programs_own_failure_is_final_unless_it_was_asked_for_otherwise(
    product: Product,
) -> None:
    fails = script("import sys; sys.exit(3)")
    final = product.wait_for_end(product.submit(fails, max_restarts=2))
    assert (final["status"], final["restarts"]) == ("Failed", 0)
    tried = product.wait_for_end(
        product.submit(fails, max_restarts=2, restart_on="any_failure"), seconds=120
    )
    assert (tried["status"], tried["restarts"]) == ("Failed", 2)
    assert tried["end_detail"]["exit_code"] == 3
