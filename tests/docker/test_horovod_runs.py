"""Horovod across containers: ranks in two of them end with the same weights."""

import json

import pytest

from tests.config.server.launched import ROOT
from tests.docker.docker_product import TARGET, DockerProduct
from tests.docker.wheels import CHECKSUM, give_the_wheel, keep_the_wheel

pytestmark = [pytest.mark.docker, pytest.mark.product, pytest.mark.tensorflow]
SECONDS = 1500


def test_horovod_trains_in_two_containers_with_the_same_weights(docker_product: DockerProduct):
    give_the_wheel(docker_product.engine, docker_product.installation)
    folder = ROOT / "examples" / "horovod"
    config = json.loads((folder / "run.json").read_text())
    two = {"type": "mpi", "process_count_per_node": 1}
    answer = docker_product.send_run(
        folder,
        {**config, "compute_target": TARGET, "node_count": 2, "distributed_training": two},
    )
    assert answer.status_code == 201, answer.text
    number = answer.json()["number"]
    run = docker_product.wait_for_end(number, SECONDS)
    assert run["status"] == "Completed", run["end_detail"]
    keep_the_wheel(docker_product.engine, docker_product.installation)
    logs = [docker_product.log(number, f"rank-{rank}").decode() for rank in range(2)]
    checksums = [CHECKSUM.findall(log) for log in logs]
    assert len(checksums[0]) == 1
    assert checksums[0] == checksums[1]
    assert docker_product.left() == []
