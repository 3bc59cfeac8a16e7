"""A gang that hangs is noticed, shown with its last lines, and ended where that is set."""

from collections.abc import Iterator

import pytest

from tests.product.product import Product
from tests.product.sources import script
from tests.product.steady_run import check_end
from tests.waiting import wait_for

pytestmark = pytest.mark.product
# Worker 1 waits for a word that worker 0 never sends, as a gang does whose barrier is broken.
HANGS = """
import os, time
index = os.environ["TRAINYARD_INDEX"]
print("waiting for" if index == "1" else "deaf to", "its peer", flush=True)
time.sleep(600)
"""
STILL_AFTER_SECONDS = 10


@pytest.fixture
def hasty(product: Product) -> Iterator[Product]:
    """Yield a product whose target calls a run still after few seconds."""
    before = product.get("/targets/local")
    product.call("PATCH", "/targets/local", json={"hang_timeout_seconds": STILL_AFTER_SECONDS})
    yield product
    product.call(
        "PATCH",
        "/targets/local",
        json={name: before[name] for name in ("hang_timeout_seconds", "fail_hung_runs")},
    )


def test_a_hanging_gang_is_shown_with_its_last_lines_and_ended_where_that_is_set(
    hasty: Product,
) -> None:
    number = hasty.submit(
        script(HANGS), distributed_training={"type": "multi_worker", "worker_count": 2}
    )
    wait_for(lambda: hasty.run(number)["hung_since"], "no progress to be noticed", 60)
    run = hasty.run(number)
    assert run["status"] == "Running", "it is only shown"
    assert run["last_lines"] == {"worker-0": "deaf to its peer", "worker-1": "waiting for its peer"}
    hasty.call("PATCH", "/targets/local", json={"fail_hung_runs": True})
    run = hasty.wait_for_end(number, 60)
    assert (run["status"], run["end_reason"]) == ("Failed", "no_progress")
    assert f"more than {STILL_AFTER_SECONDS} s" in run["end_detail"]["message"]
    check_end(hasty, number, run)


def test_a_silent_program_that_computes_makes_progress(hasty: Product) -> None:
    hasty.call("PATCH", "/targets/local", json={"fail_hung_runs": True})
    busy = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    run = hasty.wait_for_end(hasty.submit(script(busy)), 90)
    assert run["status"] == "Completed", run["end_detail"]
    assert run["hung_since"] is None
