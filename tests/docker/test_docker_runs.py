"""Runs of the whole product on a Docker Engine, as its users see them."""

import json
import re
from typing import Any

import pytest

from tests.config.server.launched import ROOT
from tests.docker.docker_product import TARGET, DockerProduct
from tests.docker.engine import BASE_IMAGE
from tests.product.sources import script
from tests.waiting import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.product]
BUILD_AND_TRAIN_SECONDS = 900
PLAIN: dict[str, Any] = {"custom_docker_image": BASE_IMAGE, "cpus_per_process": 0.5}
CHECKSUM = re.compile(r"worker \d: weights checksum ([0-9a-f]{16})")
STEADY = (
    "import time\nfor n in range(10_000):\n    print('step', n, flush=True)\n    time.sleep(0.1)"
)


def train(product: DockerProduct, example: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Run an example on the engine; return the run and its logs by process."""
    folder = ROOT / "examples" / example
    config = json.loads((folder / "run.json").read_text())
    answer = product.send_run(folder, {**config, "compute_target": TARGET, "cpus_per_process": 0.5})
    assert answer.status_code == 201, answer.text
    run = product.wait_for_end(answer.json()["number"], BUILD_AND_TRAIN_SECONDS)
    names = [process["name"] for process in run["processes"]]
    logs = {name: product.log(run["number"], name).decode() for name in names}
    assert run["status"] == "Completed", (run["end_detail"], logs)
    assert product.left() == []
    return run, logs


def files_of(product: DockerProduct, number: int) -> set[str]:
    return {file["path"] for file in product.get(f"/runs/{number}/files")["files"]}


def test_a_script_runs_in_a_container_of_its_own(docker_product: DockerProduct) -> None:
    source = script(
        "import os, socket\n"
        "print(socket.gethostname(), os.getuid(), os.environ['TRAINYARD_RUN_ID'])\n"
        "open('outputs/kept', 'w').write('k')\n"
    )
    number = docker_product.submit(source, **PLAIN)
    run = docker_product.wait_for_end(number, BUILD_AND_TRAIN_SECONDS)
    assert run["status"] == "Completed", run["end_detail"]
    assert docker_product.log(number) == f"worker-0 10001 {number}\n".encode()
    assert files_of(docker_product, number) == {"outputs/kept"}
    assert docker_product.left() == []


@pytest.mark.tensorflow
def test_keras_workers_in_two_containers_end_with_the_same_weights(
    docker_product: DockerProduct,
) -> None:
    run, logs = train(docker_product, "keras-multi-worker")
    checksums = {name: CHECKSUM.findall(log) for name, log in logs.items()}
    assert len(checksums["worker-0"]) == 1
    assert checksums["worker-0"] == checksums["worker-1"]
    assert "outputs/digits/saved_model.pb" in files_of(docker_product, run["number"])


@pytest.mark.tensorflow
def test_a_parameter_server_serves_workers_in_other_containers(
    docker_product: DockerProduct,
) -> None:
    run, logs = train(docker_product, "parameter-server")
    assert set(logs) == {"chief-0", "worker-0", "worker-1", "ps-0"}
    assert "outputs/digits/saved_model.pb" in files_of(docker_product, run["number"])


@pytest.mark.tensorflow
def test_an_estimator_trains_with_all_of_its_roles(docker_product: DockerProduct) -> None:
    run, logs = train(docker_product, "estimator-linear")
    assert {"chief-0", "ps-0", "evaluator-0"} <= set(logs)
    kept = files_of(docker_product, run["number"])
    assert any(re.fullmatch(r"outputs/digits/\d+/saved_model.pb", path) for path in kept)


def test_a_canceled_run_leaves_nothing(docker_product: DockerProduct) -> None:
    number = docker_product.submit(script(STEADY), **PLAIN)
    docker_product.wait_for_status(number, "Running", seconds=BUILD_AND_TRAIN_SECONDS)
    docker_product.wait_for_words(number)
    assert docker_product.cancel(number).status_code in (200, 202)
    assert docker_product.wait_for_end(number, BUILD_AND_TRAIN_SECONDS)["status"] == "Canceled"
    assert docker_product.left() == []


def test_what_the_engine_has_again_after_a_run_was_removed_is_removed_again(
    docker_product: DockerProduct,
) -> None:
    number = docker_product.submit(script(STEADY), **PLAIN)
    docker_product.wait_for_status(number, "Running", seconds=BUILD_AND_TRAIN_SECONDS)
    ours = {"label": f"trainyard.installation={docker_product.installation}"}
    with docker_product.engine.client() as client:
        (network,) = client.networks.list(filters=ours)
        docker_product.cancel(number)
        docker_product.wait_for_end(number, 60)
        assert docker_product.left() == []
        client.networks.create(str(network.name), labels=network.attrs["Labels"])
    wait_for(lambda: docker_product.left() == [], "the second removal of the network", 90)


def test_a_killed_container_fails_the_run_and_its_last_words_are_kept(
    docker_product: DockerProduct,
) -> None:
    number = docker_product.submit(script(STEADY), **PLAIN)
    docker_product.wait_for_status(number, "Running", seconds=BUILD_AND_TRAIN_SECONDS)
    docker_product.wait_for_words(number)
    with docker_product.engine.client() as client:
        client.api.kill(docker_product.container(number))
    run = docker_product.wait_for_end(number, BUILD_AND_TRAIN_SECONDS)
    assert run["status"] == "Failed"
    assert "worker-0" in run["end_detail"]["message"]
    assert "container was killed" in run["end_detail"]["message"]
    lines = docker_product.log(number).decode().splitlines()
    assert [line for line in lines if not line.startswith("[trainyard]")] == [
        f"step {n}" for n in range(len(lines))
    ]
    assert docker_product.left() == []


def test_a_program_killed_for_memory_is_told_so(docker_product: DockerProduct) -> None:
    source = script("held = b'x' * (600 * 1024**2)\nprint(len(held))")
    number = docker_product.submit(source, **PLAIN, memory_gb=0.25)
    run = docker_product.wait_for_end(number, BUILD_AND_TRAIN_SECONDS)
    assert run["status"] == "Failed"
    assert run["end_reason"] == "out_of_memory", run
    assert docker_product.left() == []


def test_a_run_goes_on_while_the_supervisor_is_killed(docker_product: DockerProduct) -> None:
    number = docker_product.submit(script(STEADY.replace("10_000", "150")), **PLAIN)
    docker_product.wait_for_status(number, "Running", seconds=BUILD_AND_TRAIN_SECONDS)
    docker_product.wait_for_words(number)
    docker_product.kill("supervisor")
    assert docker_product.wait_for_end(number, BUILD_AND_TRAIN_SECONDS)["status"] == "Completed"
    assert docker_product.log(number).splitlines()[-1] == b"step 149"
    wait_for(lambda: docker_product.left() == [], "the end of all that the run left")
