"""Training that is broken in the middle goes on from its last epoch, for real."""

import json
import os
import re
import signal

import pytest

from tests.config.server.launched import ROOT
from tests.product.product import Product
from tests.product.steady_run import check_end
from tests.waiting import wait_for

pytestmark = [pytest.mark.product, pytest.mark.tensorflow]
EXAMPLE = ROOT / "examples" / "keras-restarts"
BUILD_AND_TRAIN_SECONDS = 900
BEGINS = re.compile(r"worker \d: epoch (\d+) begins")


def epochs_in(product: Product, number: int, log: str) -> list[int]:
    answer = product.call("GET", f"/runs/{number}/logs/{log}")
    return [int(epoch) for epoch in BEGINS.findall(answer.text)] if answer.is_success else []


def test_a_killed_worker_costs_no_more_than_the_epoch_it_was_in(product: Product) -> None:
    config = json.loads((EXAMPLE / "run.json").read_text())
    answer = product.send_run(EXAMPLE, config)
    assert answer.status_code == 201, answer.text
    number = answer.json()["number"]
    wait_for(
        lambda: max(epochs_in(product, number, "worker-1"), default=0) >= 5,
        "five epochs",
        BUILD_AND_TRAIN_SECONDS,
    )
    programs = [p for p in product.living(number) if not p.is_runner and p.process == "worker-1"]
    os.kill(programs[0].pid, signal.SIGKILL)
    run = product.wait_for_end(number, BUILD_AND_TRAIN_SECONDS)
    assert run["status"] == "Completed", run["end_detail"]
    check_end(product, number, run)
    assert run["restarts"] == 1
    for worker in ("worker-0", "worker-1"):
        before = epochs_in(product, number, f"attempt-1-{worker}")
        after = epochs_in(product, number, worker)
        assert before[0] == 1
        assert after[-1] == config["script_params"]["--epochs"]
        assert after == list(range(after[0], after[-1] + 1))
        assert before[-1] - 1 <= after[0] <= before[-1] + 1, (before, after)

    later = product.send_run(
        EXAMPLE, config | {"resume_from": number, "script_params": {"--epochs": 1}}
    )
    assert later.status_code == 201, later.text
    resumed = product.wait_for_end(later.json()["number"], BUILD_AND_TRAIN_SECONDS)
    assert resumed["status"] == "Completed", resumed["end_detail"]
    log = product.log(resumed["number"], "worker-0").decode()
    assert "worker 0: resumed from an earlier run's weights" in log
    (accuracy,) = re.findall(r"- accuracy: ([\d.]+)", log)
    assert float(accuracy) > 0.95, "it begins where the other ended"
