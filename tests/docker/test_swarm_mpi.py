"""MPI across the nodes of a swarm: the launcher reaches workers on both, and their ranks meet."""

import json

import pytest

from tests.config.server.launched import ROOT
from tests.docker.swarm import BASE_REFERENCE
from tests.docker.swarm_product import TARGET, SwarmProduct
from tests.docker.wheels import CHECKSUM, give_the_wheel, keep_the_wheel
from tests.product.sources import program

pytestmark = [pytest.mark.docker, pytest.mark.product]
BUILD_SECONDS = 1500


def test_ranks_on_two_nodes_add_up_what_each_brings(swarm_product: SwarmProduct):
    number = swarm_product.submit(
        program("allreduce"),
        custom_docker_image=BASE_REFERENCE,
        node_count=2,
        distributed_training={"type": "mpi", "process_count_per_node": 1},
        cpus_per_process=1.5,
    )
    run = swarm_product.wait_for_end(number, BUILD_SECONDS)
    launched = swarm_product.log(number, "launcher-0").decode()
    assert run["status"] == "Completed", (run["end_detail"], launched)
    nodes = {one["name"]: one["node"] for one in run["processes"]}
    assert nodes["worker-0"] != nodes["worker-1"]
    for rank in range(2):
        own = swarm_product.log(number, f"rank-{rank}").decode()
        assert f"rank {rank} of 2 on " in own
        assert ": total 3\n" in own
        assert f"[rank {rank}] rank {rank} of 2 on " in launched


@pytest.mark.tensorflow
def test_horovod_trains_on_two_nodes_with_the_same_weights(swarm_product: SwarmProduct):
    give_the_wheel(swarm_product.swarm.nodes[0].engine, swarm_product.installation)
    folder = ROOT / "examples" / "horovod"
    config = json.loads((folder / "run.json").read_text())
    two = {"type": "mpi", "process_count_per_node": 1}
    changes = {"compute_target": TARGET, "node_count": 2, "cpus_per_process": 1.5}
    answer = swarm_product.send_run(folder, {**config, "distributed_training": two, **changes})
    assert answer.status_code == 201, answer.text
    number = answer.json()["number"]
    run = swarm_product.wait_for_end(number, BUILD_SECONDS)
    assert run["status"] == "Completed", run["end_detail"]
    keep_the_wheel(swarm_product.swarm.nodes[0].engine, swarm_product.installation)
    logs = [swarm_product.log(number, f"rank-{rank}").decode() for rank in range(2)]
    nodes = swarm_product.nodes_of(number)
    assert nodes["worker-0"] != nodes["worker-1"]
    checksums = [CHECKSUM.findall(log) for log in logs]
    assert len(checksums[0]) == 1
    assert checksums[0] == checksums[1]
