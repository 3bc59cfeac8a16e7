"""MPI across containers: a launcher, workers that it reaches by ssh, ranks that work together."""

import json
from typing import Any

import pytest

from tests.docker.docker_product import DockerProduct
from tests.docker.engine import BASE_IMAGE
from tests.product.sources import program, script
from tests.waiting import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.product]
BUILD_SECONDS = 600
TWO_BY_TWO: dict[str, Any] = {
    "custom_docker_image": BASE_IMAGE,
    "node_count": 2,
    "distributed_training": {"type": "mpi", "process_count_per_node": 2},
}


def test_ranks_on_two_workers_add_up_what_each_brings(docker_product: DockerProduct):
    number = docker_product.submit(program("allreduce"), **TWO_BY_TWO)
    run = docker_product.wait_for_end(number, BUILD_SECONDS)
    launched = docker_product.log(number, "launcher-0").decode()
    assert run["status"] == "Completed", (run["end_detail"], launched)
    assert {one["name"]: one["exit_code"] for one in run["processes"]} == {
        "launcher-0": 0,
        "worker-0": 0,
        "worker-1": 0,
    }
    for rank in range(4):
        own = docker_product.log(number, f"rank-{rank}").decode()
        assert f"rank {rank} of 4 on worker-{rank // 2}: total 10\n" in own
        assert f"OMPI_COMM_WORLD_LOCAL_RANK={rank % 2}\n" in own
        assert "OMPI_COMM_WORLD_LOCAL_SIZE=2\n" in own
        assert "AZ_BATCH_MASTER_NODE=worker-0:6000\n" in own
        assert f"[rank {rank}] rank {rank} of 4 on worker-{rank // 2}: total 10\n" in launched
    files = {file["path"] for file in docker_product.get(f"/runs/{number}/files")["files"]}
    assert files == {f"outputs/rank-{rank}.txt" for rank in range(4)}
    assert docker_product.left() == []


def test_the_keys_are_only_where_they_are_needed_and_gone_with_the_run(
    docker_product: DockerProduct,
):
    source = script("import time\nprint('here', flush=True)\ntime.sleep(600)\n")
    number = docker_product.submit(source, **TWO_BY_TWO)
    docker_product.wait_for_status(number, "Running", seconds=BUILD_SECONDS)
    docker_product.wait_for_words(number, "rank-3")
    with docker_product.engine.client() as client:
        found: dict[str, set[str]] = {}
        for name in ("launcher-0", "worker-0"):
            container = client.containers.get(docker_product.container(number, name))
            _, listed = container.exec_run("ls -l /trainyard/process/mpi")
            assert isinstance(listed, bytes)
            rows = [line.split() for line in listed.decode().splitlines()[1:]]
            assert {row[0] for row in rows if row[0].startswith("-")} == {"-rw-------"}
            found[name] = {row[-1] for row in rows}
            said = json.dumps(container.attrs)
            assert "PRIVATE KEY" not in said
    assert {"key", "known_hosts"} <= found["launcher-0"]
    assert "host_key" not in found["launcher-0"]
    assert {"host_key", "authorized"} <= found["worker-0"]
    assert "key" not in found["worker-0"]
    docker_product.cancel(number)
    assert docker_product.wait_for_end(number)["status"] == "Canceled"
    assert docker_product.left() == []


def test_a_worker_that_is_killed_ends_the_run_and_is_named(docker_product: DockerProduct):
    source = script(
        "import time\n"
        "from mpi4py import MPI\n"
        "MPI.COMM_WORLD.Barrier()\n"
        "print('here', flush=True)\n"
        "time.sleep(600)\n"
    )
    number = docker_product.submit(source, **TWO_BY_TWO)
    docker_product.wait_for_status(number, "Running", seconds=BUILD_SECONDS)
    docker_product.wait_for_words(number, "rank-3")
    with docker_product.engine.client() as client:
        client.api.kill(docker_product.container(number, "worker-1"))
    run = docker_product.wait_for_end(number)
    assert run["status"] == "Failed"
    assert "worker-1" in run["end_detail"]["message"], run["end_detail"]
    wait_for(lambda: docker_product.left() == [], "the engine to be tidied")
