"""Runs of the whole product on a swarm of two nodes, as its users see them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.config.server.launched import ROOT
from tests.docker.swarm import BASE_REFERENCE
from tests.docker.swarm_product import TARGET, SwarmProduct
from tests.product.sources import script
from tests.waiting import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.product]
BUILD_AND_TRAIN_SECONDS = 1200
START_SECONDS = 600
PLAIN: dict[str, Any] = {"custom_docker_image": BASE_REFERENCE}
# A node of two cores has room for one such worker.
TWO: dict[str, Any] = {
    "distributed_training": {"type": "multi_worker", "worker_count": 2},
    "cpus_per_process": 1.5,
}
CHECKSUM = re.compile(r"worker \d: weights checksum ([0-9a-f]{16})")
# Ends once every worker was reached, so that none looks for one that has gone.
GREETING = """
import json, os, socket, time
workers = json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
door = socket.create_server(("", 2222))
for worker in workers:
    host, port = worker.split(":")
    while True:
        try:
            socket.create_connection((host, port)).close()
            break
        except socket.gaierror:
            raise
        except OSError:  # a node may know a name before the way to it
            time.sleep(0.1)
    print(worker, "answers")
for worker in workers:
    door.accept()
open("outputs/kept-" + os.environ["TRAINYARD_INDEX"], "w").write("k")
"""
STEADY = (
    "import time\nfor n in range(10_000):\n    print('step', n, flush=True)\n    time.sleep(0.1)"
)


def train(product: SwarmProduct, example: str, **changes: Any) -> tuple[int, dict[str, str]]:
    """Run an example on the swarm; return its number and its logs by process."""
    folder = ROOT / "examples" / example
    config = json.loads((folder / "run.json").read_text())
    answer = product.send_run(folder, {**config, "compute_target": TARGET, **changes})
    assert answer.status_code == 201, answer.text
    run = product.wait_for_end(answer.json()["number"], BUILD_AND_TRAIN_SECONDS)
    names = [process["name"] for process in run["processes"]]
    logs = {name: product.log(run["number"], name).decode() for name in names}
    assert run["status"] == "Completed", (run["end_detail"], logs)
    return run["number"], logs


def wait_for_both(product: SwarmProduct, number: int) -> None:
    product.wait_for_status(number, "Running", seconds=START_SECONDS)
    for worker in ("worker-0", "worker-1"):
        product.wait_for_words(number, worker)


def kill_worker_1(product: SwarmProduct) -> None:
    """Kill the container of worker-1, on whichever node it is."""
    for node in product.swarm.nodes:
        with node.engine.client() as client:
            for one in client.containers.list(filters={"label": "trainyard.process=worker-1"}):
                one.kill()


def files_of(product: SwarmProduct, number: int) -> set[str]:
    return {file["path"] for file in product.get(f"/runs/{number}/files")["files"]}


def test_two_workers_run_on_two_nodes_and_leave_nothing(swarm_product: SwarmProduct) -> None:
    source = script(GREETING)
    number = swarm_product.submit(source, **PLAIN, **TWO)
    run = swarm_product.wait_for_end(number, START_SECONDS)
    assert run["status"] == "Completed", run["end_detail"]
    assert swarm_product.nodes_of(number) == {"worker-0": "node-1", "worker-1": "node-2"}
    for worker in ("worker-0", "worker-1"):
        assert (
            swarm_product.log(number, worker) == b"worker-0:2222 answers\nworker-1:2222 answers\n"
        )
    assert len(files_of(swarm_product, number)) == 2
    swarm_product.wait_until_nothing_is_left()


def test_a_canceled_run_leaves_nothing(swarm_product: SwarmProduct) -> None:
    number = swarm_product.submit(script(STEADY), **PLAIN, **TWO)
    wait_for_both(swarm_product, number)
    assert swarm_product.cancel(number).status_code in (200, 202)
    assert swarm_product.wait_for_end(number)["status"] == "Canceled"
    swarm_product.wait_until_nothing_is_left()


def test_a_killed_container_ends_the_run_with_its_reason(swarm_product: SwarmProduct) -> None:
    number = swarm_product.submit(script(STEADY), **PLAIN, **TWO)
    wait_for_both(swarm_product, number)
    kill_worker_1(swarm_product)
    run = swarm_product.wait_for_end(number)
    assert run["status"] == "Failed"
    assert run["end_reason"] == "lost"
    assert run["end_detail"]["process"] == "worker-1"
    assert "its container ended with exit code 137" in run["end_detail"]["message"]
    assert swarm_product.log(number, "worker-0").startswith(b"step 0\nstep 1\n")
    swarm_product.wait_until_nothing_is_left()


def test_a_node_that_is_cut_off_ends_the_run_with_its_reason(swarm_product: SwarmProduct) -> None:
    number = swarm_product.submit(script(STEADY), **PLAIN, **TWO)
    wait_for_both(swarm_product, number)
    node = swarm_product.swarm.nodes[1]
    node.cut()
    try:
        run = swarm_product.wait_for_end(number)
        assert run["status"] == "Failed"
        assert run["end_reason"] == "lost"
        assert run["end_detail"]["process"] == "worker-1"
        assert "its node node-2 is down" in run["end_detail"]["message"]
    finally:
        node.restore()
    wait_for(swarm_product.swarm.is_whole, "the node to be back", 60)
    swarm_product.wait_until_nothing_is_left()
    number = swarm_product.submit(script("print('again')"), **PLAIN, **TWO)
    run = swarm_product.wait_for_end(number, START_SECONDS)
    assert run["status"] == "Completed", run["end_detail"]


def test_a_restarted_gang_finds_what_it_kept_on_whatever_node(swarm_product: SwarmProduct) -> None:
    source = script(
        "import os, pathlib, time\n"
        "kept = pathlib.Path(os.environ['TRAINYARD_CHECKPOINT_DIR'], 'epoch')\n"
        "if kept.exists():\n"
        "    raise SystemExit(print('goes on from', kept.read_text()))\n"
        "if os.environ['TRAINYARD_INDEX'] == '1':\n"
        "    kept.write_text('7')\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    number = swarm_product.submit(source, **PLAIN, **TWO, max_restarts=1)
    wait_for_both(swarm_product, number)
    folder = swarm_product.home / "runs" / str(number) / "checkpoints"
    wait_for((folder / "epoch").exists, "the checkpoint to be kept", 30)
    kill_worker_1(swarm_product)
    run = swarm_product.wait_for_end(number, START_SECONDS)
    assert run["status"] == "Completed", run["end_detail"]
    for worker in ("worker-0", "worker-1"):
        assert swarm_product.log(number, worker) == b"goes on from 7\n"
    swarm_product.wait_until_nothing_is_left()
    assert not folder.exists()


@pytest.mark.tensorflow
def test_keras_workers_on_two_nodes_end_with_the_same_weights(swarm_product: SwarmProduct) -> None:
    number, logs = train(swarm_product, "keras-multi-worker", cpus_per_process=1.5)
    assert set(swarm_product.nodes_of(number).values()) == {"node-1", "node-2"}
    checksums = {name: CHECKSUM.findall(log) for name, log in logs.items()}
    assert len(checksums["worker-0"]) == 1
    assert checksums["worker-0"] == checksums["worker-1"]
    assert "outputs/digits/saved_model.pb" in files_of(swarm_product, number)


@pytest.mark.tensorflow
def test_a_parameter_server_serves_workers_on_both_nodes(swarm_product: SwarmProduct) -> None:
    number, logs = train(swarm_product, "parameter-server", cpus_per_process=1)
    nodes = swarm_product.nodes_of(number)
    assert set(nodes) == {"chief-0", "worker-0", "worker-1", "ps-0"}
    assert set(nodes.values()) == {"node-1", "node-2"}
    steps = re.search(r"steps done by each worker: \[(\d+), (\d+)\]", logs["chief-0"])
    assert steps
    assert all(int(count) > 0 for count in steps.groups())
    assert "outputs/digits/saved_model.pb" in files_of(swarm_product, number)
    swarm_product.wait_until_nothing_is_left()


@pytest.mark.tensorflow
def test_an_estimator_trains_on_both_nodes_where_they_share_a_folder(
    swarm_product: SwarmProduct, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    swarm_product.change_target(shared_folder=str(shared))
    try:
        number, logs = train(swarm_product, "estimator-linear", cpus_per_process=0.9)
        assert set(swarm_product.nodes_of(number).values()) == {"node-1", "node-2"}
        assert "training is over" in logs["evaluator-0"]
        accuracy = re.search(r"test accuracy ([\d.]+)", logs["chief-0"])
        assert accuracy
        assert float(accuracy[1]) > 0.9
        kept = files_of(swarm_product, number)
        assert any(re.fullmatch(r"outputs/digits/\d+/saved_model.pb", path) for path in kept)
        swarm_product.wait_until_nothing_is_left()
        assert list(shared.iterdir()) == []
    finally:
        swarm_product.change_target(shared_folder="")
