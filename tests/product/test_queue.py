"""Runs that want the same cores: low priority makes way, and goes on from its checkpoints."""

import os

import pytest

from tests.product.product import Product
from tests.product.sources import script
from tests.product.steady_run import check_end
from tests.waiting import wait_for

pytestmark = pytest.mark.product
# Counts on from what it saved; waits to be stopped the first time, and ends by itself the second.
COUNTS = """
import os, pathlib, signal, sys, time
saved = pathlib.Path(os.environ["TRAINYARD_CHECKPOINT_DIR"], "count")
count = int(saved.read_text()) if saved.exists() else 0

def stop(*_):
    saved.write_text("41")
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
print("counts from", count, flush=True)
while not count:
    time.sleep(0.05)
pathlib.Path("outputs/count").write_text(str(count + 1))
"""


def test_a_run_of_low_priority_makes_way_and_goes_on_from_its_checkpoints(
    product: Product,
) -> None:
    cores = len(os.sched_getaffinity(0))
    low = product.submit(script(COUNTS), cpus_per_process=cores, priority=-1, grace_seconds=10)
    wait_for(
        lambda: b"counts from 0" in product.call("GET", f"/runs/{low}/logs/worker-0").content,
        "the run of low priority",
        60,
    )
    high = product.submit(script("print('it is my turn')"), cpus_per_process=cores)
    assert product.wait_for_end(high)["status"] == "Completed"
    run = product.wait_for_end(low)
    assert run["status"] == "Completed", run["end_detail"]
    check_end(product, low, run)
    assert run["restarts"] == 0, "making way uses up no restart"
    assert product.call("GET", f"/runs/{low}/files/outputs/count").text == "42"
    ends = [product.run(number)["ended_at"] for number in (high, low)]
    assert ends == sorted(ends), "the higher one ended first"
