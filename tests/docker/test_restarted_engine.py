"""What becomes of runs whose engine is restarted, or dies and comes back."""

import re
from typing import Any

import pytest

from tests.docker.engine import BASE_IMAGE
from tests.docker.restartable_engine import OwnEngine, OwnEngineProduct
from tests.product.sources import script
from tests.waiting import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.product]
BUILD_SECONDS = 300
PLAIN: dict[str, Any] = {"custom_docker_image": BASE_IMAGE, "cpus_per_process": 0.5}
# Waits to be killed the first time; the second time it finds what it left.
GOES_ON = """
import os, pathlib, time
kept = pathlib.Path(os.environ['TRAINYARD_CHECKPOINT_DIR']) / 'step'
if kept.exists():
    print('going on from', kept.read_text())
else:
    kept.write_text('7')
    print('up', flush=True)
    time.sleep(600)
"""


def test_a_run_is_started_again_when_its_engine_was_restarted(
    own_engine: OwnEngine, own_engine_product: OwnEngineProduct
) -> None:
    number = own_engine_product.submit(script(GOES_ON), **PLAIN, max_restarts=1)
    own_engine_product.wait_for_status(number, "Running", seconds=BUILD_SECONDS)
    own_engine_product.wait_for_words(number)
    own_engine.stop()
    own_engine.start()
    run = own_engine_product.wait_for_end(number, 120)
    assert run["status"] == "Completed", (run["end_detail"], own_engine_product.launched.said)
    assert b"going on from 7" in own_engine_product.log(number)
    wait_for(lambda: own_engine_product.left() == [], "the end of all that the run left", 90)


def test_a_run_that_may_not_start_again_ends_with_the_true_reason(
    own_engine: OwnEngine, own_engine_product: OwnEngineProduct
) -> None:
    number = own_engine_product.submit(script(GOES_ON), **PLAIN)
    own_engine_product.wait_for_status(number, "Running", seconds=BUILD_SECONDS)
    own_engine_product.wait_for_words(number)
    own_engine.kill()
    wait_for(
        lambda: own_engine_product.get("/targets/engine")["unreachable_since"],
        "the target to be seen as silent",
        60,
    )
    assert own_engine_product.run(number)["status"] not in {"Failed", "Completed", "Canceled"}
    own_engine.start()
    run = own_engine_product.wait_for_end(number, 120)
    assert run["status"] == "Failed"
    # The engine asks what it finds to stop; a runner that can still say so is believed.
    said = run["end_detail"]["message"]
    assert re.search(r"stopped by its machine|engine was restarted", said), said
    assert own_engine_product.log(number).startswith(b"up\n")
    wait_for(lambda: own_engine_product.left() == [], "the end of all that the run left", 90)
