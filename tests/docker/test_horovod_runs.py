"""Horovod across containers: ranks in two of them end with the same weights."""

import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from tests.config.launched import ROOT
from tests.docker.docker_product import TARGET, DockerProduct
from tests.docker.engine import BASE_IMAGE

pytestmark = [pytest.mark.docker, pytest.mark.product, pytest.mark.tensorflow]
WHEELS = Path.home() / ".cache" / "trainyard-tests" / "wheels"
BUILT_FOR = "horovod-0.28.1-python3.11-tensorflow2.15.1-openmpi4.1.4"
SECONDS = 1500
CHECKSUM = re.compile(r"rank \d: weights checksum ([0-9a-f]{16})")


def give_the_wheel(product: DockerProduct) -> None:
    """Put the wheel that tests built on this machine into the engine's cache, if there is one.

    Without it, the engine builds its own, which takes minutes.
    """
    if not (WHEELS / BUILT_FOR).exists():
        return
    name = f"ty-{product.installation}-uv-cache"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(WHEELS / BUILT_FOR, f"wheels/{BUILT_FOR}-x86_64")
    with product.engine.client() as client:
        client.volumes.create(name, labels={"trainyard.installation": product.installation})
        holder = client.containers.create(
            BASE_IMAGE, "true", volumes={name: {"bind": "/cache", "mode": "rw"}}
        )
        holder.put_archive("/cache", packed.getvalue())
        holder.remove()


def test_horovod_trains_in_two_containers_with_the_same_weights(docker_product: DockerProduct):
    give_the_wheel(docker_product)
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
    logs = [docker_product.log(number, f"rank-{rank}").decode() for rank in range(2)]
    assert run["status"] == "Completed", (run["end_detail"], logs)
    checksums = [CHECKSUM.findall(log) for log in logs]
    assert len(checksums[0]) == 1
    assert checksums[0] == checksums[1]
    assert docker_product.left() == []
