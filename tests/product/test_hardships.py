"""Runs come through what befalls the server: killed while it starts them, or out of disk."""

import os

import pytest

from tests.product.product import Product
from tests.product.small_disk import mount, small_disk
from tests.product.sources import script
from tests.product.steady_run import check_end
from tests.waiting import wait_for

pytestmark = pytest.mark.product
WORKERS = [f"worker-{index}" for index in range(6)]
KIBIBYTE = 1024


def test_a_supervisor_killed_in_the_middle_of_starting_a_gang_leaves_no_half_of_it(
    product: Product,
) -> None:
    product.wait_for_end(product.submit(script("print('the environment is there')")))
    for process in ("worker-0", "worker-3"):
        number = product.submit(
            script("import os; print(os.environ['TRAINYARD_INDEX'], 'of a whole gang')"),
            distributed_training={"type": "multi_worker", "worker_count": len(WORKERS)},
        )
        folder = product.home / "local" / f"run-{number}-1" / process
        wait_for(folder.exists, f"{process} to be started", 60)
        product.kill("supervisor")
        run = product.wait_for_end(number)
        assert run["status"] == "Completed", run["end_detail"]
        assert run["attempt"] == 1
        check_end(product, number, run)
        for index, worker in enumerate(WORKERS):
            assert product.log(number, worker) == f"{index} of a whole gang\n".encode()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_full_for_a_while_costs_no_line_of_a_log(fresh_product: Product) -> None:
    lines = 20_000
    with small_disk(fresh_product.home / "groups", 256 * KIBIBYTE):
        number = fresh_product.submit(
            script(f"for n in range({lines}): print(n, 'a line that has to go somewhere')")
        )
        wait_for(lambda: "No space left" in fresh_product.launched.said, "a full disk", 90)
        fresh_product.wait_for_status(number, "Running", "Finalizing")
        mount("-o", f"remount,size={64 * KIBIBYTE**2}", str(fresh_product.home / "groups"))
        run = fresh_product.wait_for_end(number)
        assert run["status"] == "Completed", run["end_detail"]
        log = fresh_product.log(number).decode().splitlines()
        assert log == [f"{n} a line that has to go somewhere" for n in range(lines)]
        check_end(fresh_product, number, run)
