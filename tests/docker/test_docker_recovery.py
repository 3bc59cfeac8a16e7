"""What befalls runs in containers: their supervisor, a worker or the way to the engine fails."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from docker.errors import NotFound

from tests.docker.docker_product import TARGET, DockerProduct
from tests.docker.engine import BASE_IMAGE
from tests.docker.frozen_proxy import FreezableProxy
from tests.product.sources import script
from tests.product.test_training_goes_on import EXAMPLE, epochs_in
from tests.waiting import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.product]
PLAIN: dict[str, Any] = {"custom_docker_image": BASE_IMAGE, "cpus_per_process": 0.1}
BUILD_AND_TRAIN_SECONDS = 600
# Waits to be killed the first time; the second time it finds what it left.
GOES_ON = """
import os, pathlib, time
kept = pathlib.Path(os.environ["TRAINYARD_CHECKPOINT_DIR"], os.environ["TRAINYARD_INDEX"])
if kept.exists():
    print("going on from", kept.read_text())
else:
    kept.write_text("7")
    print("up", flush=True)
    time.sleep(600)
"""
WAITS = "import time\nprint('up', flush=True)\ntime.sleep(600)"


def is_there(product: DockerProduct, container: str) -> bool:
    with product.engine.client() as client:
        try:
            client.containers.get(container)
        except NotFound:
            return False
    return True


@pytest.mark.parametrize("process", ["worker-0", "worker-3"])
def test_a_supervisor_killed_in_the_middle_of_starting_a_gang_leaves_no_half_of_it(
    docker_product: DockerProduct, process: str
) -> None:
    number = docker_product.submit(
        script("import os; print(os.environ['TRAINYARD_INDEX'], 'of a whole gang')"),
        **PLAIN,
        distributed_training={"type": "multi_worker", "worker_count": 4},
    )
    container = docker_product.container(number, process)
    wait_for(lambda: is_there(docker_product, container), f"{process} to be made", 60)
    docker_product.kill("supervisor")
    run = docker_product.wait_for_end(number)
    assert run["status"] == "Completed", run["end_detail"]
    assert run["attempt"] == 1
    for index in range(4):
        assert (
            docker_product.log(number, f"worker-{index}") == f"{index} of a whole gang\n".encode()
        )
    assert docker_product.left() == []


@pytest.fixture
def wire(docker_product: DockerProduct) -> Iterator[FreezableProxy]:
    """Yield a way to the engine that can be frozen, with a target `frozen` for it."""
    product = docker_product
    wire = FreezableProxy(product.engine.address.removeprefix("unix://"))
    with product.engine.client() as client:
        bridge = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    port = product.url.rpartition(":")[2]
    product.post(
        "/targets",
        {
            "name": "frozen",
            "kind": "docker",
            "address": wire.address,
            "without_tls": True,
            "web_url": f"http://{bridge}:{port}",
        },
    )
    wait_for(lambda: product.get("/targets/frozen")["pool"], "the target to be known", 60)
    yield wire
    assert product.call("DELETE", "/targets/frozen").status_code == 204
    wire.close()


def test_a_run_outlives_the_silence_of_its_engine_and_holds_up_no_other(
    docker_product: DockerProduct, wire: FreezableProxy
) -> None:
    product = docker_product
    number = product.submit(script(WAITS), **PLAIN, compute_target="frozen")
    product.wait_for_status(number, "Running", seconds=BUILD_AND_TRAIN_SECONDS)
    product.wait_for_words(number)
    with wire.frozen():
        wait_for(lambda: product.run(number)["target_unreachable_since"], "the silence to show", 60)
        run = product.run(number)
        assert run["status"] == "Running"
        assert product.get("/targets/frozen")["unreachable_since"]
        other = product.wait_for_end(product.submit(script("print('not held up')"), **PLAIN))
        assert other["status"] == "Completed", other["end_detail"]
        assert product.run(number)["status"] == "Running"
    wait_for(lambda: not product.run(number)["target_unreachable_since"], "the run's adoption", 90)
    product.cancel(number)
    run = product.wait_for_end(number)
    assert run["status"] == "Canceled"
    assert product.left() == []


def test_a_killed_container_brings_the_gang_up_again_with_what_it_kept(
    docker_product: DockerProduct,
) -> None:
    number = docker_product.submit(
        script(GOES_ON),
        **PLAIN,
        distributed_training={"type": "multi_worker", "worker_count": 2},
        max_restarts=1,
    )
    docker_product.wait_for_status(number, "Running", seconds=BUILD_AND_TRAIN_SECONDS)
    for worker in ("worker-0", "worker-1"):
        docker_product.wait_for_words(number, worker)
    with docker_product.engine.client() as client:
        client.containers.get(docker_product.container(number, "worker-1")).kill()
    run = docker_product.wait_for_end(number)
    assert run["status"] == "Completed", run["end_detail"]
    assert run["restarts"] == 1
    for worker in ("worker-0", "worker-1"):
        assert docker_product.log(number, worker) == b"going on from 7\n"
        assert docker_product.log(number, f"attempt-1-{worker}") == b"up\n"
    assert docker_product.left() == []


@pytest.mark.tensorflow
def test_a_killed_container_costs_no_more_than_the_epoch_it_was_in(
    docker_product: DockerProduct,
) -> None:
    config = json.loads((EXAMPLE / "run.json").read_text())
    answer = docker_product.send_run(EXAMPLE, config | {"compute_target": TARGET})
    assert answer.status_code == 201, answer.text
    number = answer.json()["number"]
    wait_for(
        lambda: max(epochs_in(docker_product, number, "worker-1"), default=0) >= 5,
        "five epochs",
        BUILD_AND_TRAIN_SECONDS,
    )
    with docker_product.engine.client() as client:
        client.containers.get(docker_product.container(number, "worker-1")).kill()
    run = docker_product.wait_for_end(number, BUILD_AND_TRAIN_SECONDS)
    assert run["status"] == "Completed", run["end_detail"]
    assert run["restarts"] == 1
    for worker in ("worker-0", "worker-1"):
        before = epochs_in(docker_product, number, f"attempt-1-{worker}")
        after = epochs_in(docker_product, number, worker)
        assert after == list(range(after[0], config["script_params"]["--epochs"] + 1))
        assert before[-1] - 1 <= after[0] <= before[-1] + 1, (before, after)
    assert docker_product.left() == []
