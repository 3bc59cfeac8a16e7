"""What dies of the product is started again, and no run notices."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.product.product import Product
from tests.product.sources import script
from tests.product.steady_run import WORKERS, SteadyRun, check_end
from tests.waiting import wait_for

pytestmark = pytest.mark.product


@pytest.mark.parametrize("part", ["web", "worker-1", "supervisor", "broker"])
def test_a_run_does_not_notice_that_a_part_is_killed(
    product: Product, tmp_path: Path, part: str
) -> None:
    run = SteadyRun(product, tmp_path, lines=800, per_second=100)
    run.wait_until_printed(100)
    product.kill(part)
    run.wait_for_more(100)
    product.kill(part)
    run.check()


def test_a_run_does_not_notice_that_everything_is_killed_and_started_again(
    product: Product, tmp_path: Path
) -> None:
    run = SteadyRun(product, tmp_path, lines=1000, per_second=100)
    run.wait_until_printed(100)
    product.kill_everything()
    run.wait_for_more(200)
    product.start()
    run.wait_for_more(100)
    run.check()


def test_a_run_that_ends_while_everything_is_down_is_told_in_full_afterwards(
    product: Product, tmp_path: Path
) -> None:
    run = SteadyRun(product, tmp_path, lines=300, per_second=100)
    run.wait_until_printed(100)
    product.kill_everything()
    run.wait_until_printed(301)
    product.start()
    run.check()


def test_training_goes_on_through_an_orderly_stop(product: Product, tmp_path: Path) -> None:
    run = SteadyRun(product, tmp_path, lines=1000, per_second=100)
    run.wait_until_printed(100)
    assert product.stop() == 0
    run.wait_for_more(100)
    product.start()
    run.check()


def test_a_run_that_waits_in_the_queue_outlives_the_loss_of_the_broker_and_its_data(
    product: Product,
) -> None:
    target = product.get("/targets")[0]["name"]
    product.call("PATCH", f"/targets/{target}", json={"is_paused": True})
    number = product.submit(script("print('at last')"))
    wait_for(lambda: product.run(number)["wait_reason"], "a reason for waiting")
    assert "paused" in product.run(number)["wait_reason"]
    product.kill_everything()
    shutil.rmtree(product.home / "broker")
    product.start()
    product.call("PATCH", f"/targets/{target}", json={"is_paused": False})
    run = product.wait_for_end(number)
    assert run["status"] == "Completed"
    assert product.log(number) == b"at last\n"


def test_runs_are_taken_on_while_the_broker_hangs(product: Product) -> None:
    product.wait_for_end(product.submit(script("print('the environment is there')")))
    broker = product.part("broker")
    os.kill(broker, signal.SIGSTOP)
    try:
        number = product.submit(script("print('here')"))
        run = product.wait_for_end(number)
    finally:
        os.kill(broker, signal.SIGCONT)
    assert run["status"] == "Completed"
    assert product.log(number) == b"here\n"


def test_an_environment_is_built_though_a_worker_dies_over_it(fresh_product: Product) -> None:
    (fresh_product.home / "environments").unlink()
    number = fresh_product.submit(script("import cowsay; print('built')"), pip_packages=["cowsay"])
    building = wait_for(
        lambda: list((fresh_product.home).glob("environments/.building-*")), "the build", 60
    )
    assert building
    fresh_product.kill("worker-1")
    fresh_product.kill("worker-2")
    fresh_product.kill("worker-3")
    fresh_product.kill("worker-4")
    run = fresh_product.wait_for_end(number, seconds=240)
    assert run["status"] == "Completed", run["end_detail"]
    assert fresh_product.log(number) == b"built\n"


def test_a_watcher_that_comes_back_misses_nothing_and_sees_nothing_twice(
    product: Product, tmp_path: Path
) -> None:
    run = SteadyRun(product, tmp_path, lines=600, per_second=100)
    seen = dict.fromkeys(WORKERS, b"")
    run.wait_until_printed(1)
    killed, status = 0, ""

    def is_whole() -> bool:
        return all(len(text) == len(run.record(worker)) for worker, text in seen.items())

    while not (status == "Completed" and is_whole()):
        assert status not in {"Failed", "Canceled"}
        try:
            offsets = {worker: len(text) for worker, text in seen.items()}
            with product.watch(run.number, offsets) as socket:
                for frame in socket:
                    message = json.loads(frame)
                    if message["type"] == "run.status":
                        status = message["status"]
                    if message["type"] == "log":
                        worker = message["process"]
                        assert message["offset"] == len(seen[worker])
                        seen[worker] += message["text"].encode()
                        assert message["next"] == len(seen[worker])
                    if status == "Completed" and is_whole():
                        break
                    if killed < 2 and run.printed() > 150 * (killed + 1):
                        product.kill("web")
                        killed += 1
        except (OSError, ConnectionClosed, InvalidHandshake):
            continue
    assert killed == 2
    assert {worker: run.record(worker) for worker in WORKERS} == seen
    run.check()


@pytest.mark.parametrize("seed", range(4))
def test_short_runs_end_once_and_truly_however_often_the_supervisor_is_killed(
    product: Product, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    codes = [chance.choice([0, 0, 3]) for _ in range(6)]
    text = "import sys, time\nfor n in range(50): print(n)\ntime.sleep({})\nsys.exit({})"
    numbers = [
        product.submit(script(text.format(round(chance.random(), 2), code))) for code in codes
    ]
    for kills in range(4):
        time.sleep(chance.random())
        product.kill("supervisor")
        if kills == 3:
            product.kill_everything()
            product.start()
    for number, code in zip(numbers, codes, strict=True):
        run = product.wait_for_end(number)
        assert run["status"] == ("Failed" if code else "Completed"), run["end_detail"]
        check_end(product, number, run)
        (process,) = run["processes"]
        assert process["exit_code"] == code
        assert product.log(number) == "".join(f"{n}\n" for n in range(50)).encode()
