"""A run ends whatever its runner does, and goes on whichever of two supervisors has the duty."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.product.product import Product
from tests.product.sources import script
from tests.waiting import wait_for

pytestmark = pytest.mark.product
FINALIZE_TIMEOUT = "20"  # uploads are noted every 10 s
SLEEPS = "import time; print('up', flush=True); time.sleep(600)"
LEAVES_MUCH = """
with open('outputs/much', 'wb') as file:
    file.truncate(300_000_000)
"""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Yield a product that waits for some seconds for what makes no progress."""
    folder = tmp_path_factory.mktemp("impatient")
    product = Product(folder, {"TRAINYARD_FINALIZE_TIMEOUT": FINALIZE_TIMEOUT})
    product.start()
    yield product
    product.end()


def test_a_runner_that_hangs_while_it_uploads_is_killed_and_what_it_left_is_kept(
    impatient: Product,
) -> None:
    number = impatient.submit(script(LEAVES_MUCH))
    runner = impatient.runner(number)
    impatient.wait_for_status(number, "Finalizing")
    os.kill(runner, signal.SIGSTOP)
    run = impatient.wait_for_end(number, seconds=180)
    assert run["status"] == "Completed"
    assert run["end_detail"]["message"] == "worker-0 completed."
    (kept,) = impatient.get(f"/runs/{number}/files")["files"]
    assert (kept["path"], kept["size"]) == ("outputs/much", 300_000_000)
    assert not impatient.living(number)


def test_a_run_whose_runner_hangs_ends_at_once_when_it_is_canceled_twice(
    impatient: Product,
) -> None:
    number = impatient.submit(script(SLEEPS), grace_seconds=600)
    impatient.wait_for_words(number)
    os.kill(impatient.runner(number), signal.SIGSTOP)
    assert impatient.cancel(number).status_code == 202
    impatient.wait_for_status(number, "Finalizing")
    assert impatient.cancel(number).status_code == 202
    run = impatient.wait_for_end(number)
    assert run["status"] == "Canceled"
    assert "What worker-0 had not sent by then is missing." in run["end_detail"]["message"]
    assert not impatient.living(number)
    assert impatient.get("/targets/local/holders") == []


def test_of_two_supervisors_one_that_was_paused_finds_the_other_on_duty(impatient: Product) -> None:
    first = impatient.part("supervisor")
    with impatient.managing("supervisor") as second:
        os.kill(first, signal.SIGSTOP)
        try:
            second.wait_to_hear("On duty.")
            number = impatient.submit(script("print('with the second')"))
            assert impatient.wait_for_end(number)["status"] == "Completed"
        finally:
            os.kill(first, signal.SIGCONT)
        impatient.launched.wait_to_hear("Standing by: another is on duty.")
        number = impatient.submit(script("print('with the second still')"))
        assert impatient.wait_for_end(number)["status"] == "Completed"
    number = impatient.submit(script("print('with the first again')"))
    assert impatient.wait_for_end(number)["status"] == "Completed"
    wait_for(impatient.is_healthy, "the product to be healthy")
