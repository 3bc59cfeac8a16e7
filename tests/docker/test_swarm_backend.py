"""What the swarm backend promises beyond the contract of all kinds, on a real swarm."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from docker.types import Resources

from tests.docker.hostile_program import ANSWERS
from tests.docker.swarm_stage import START_SECONDS, Stage, image, stage, webs
from tests.waiting import wait_for
from workspace.compute.base import (
    BackendError,
    ProcessStatusState,
)
from workspace.compute.swarm.backend import SwarmBackend

__all__ = ["image", "stage", "webs"]
pytestmark = pytest.mark.docker


def test_both_nodes_are_shown_with_what_they_have(stage: Stage) -> None:
    nodes = stage.backend.check()
    assert [node.name for node in nodes] == ["node-1", "node-2"]
    for node in nodes:
        assert node.healthy
        assert node.cpus > 0
        assert node.memory_bytes > 1e9
        assert node.engine_version
        assert [gpu.uuid for gpu in node.gpus] == [f"GPU-{node.name}-a", f"GPU-{node.name}-b"]


PEERS = """
import os, socket, time
me, other = os.environ["TRAINYARD_PROCESS"], {"worker-0": "worker-1", "worker-1": "worker-0"}
server = socket.create_server(("0.0.0.0", 2222))
deadline = time.monotonic() + 60
while True:
    try:
        peer = socket.create_connection((other[me], 2222), timeout=20)
        break
    except socket.gaierror:
        raise
    except OSError:  # a node may know a name before the way to it
        assert time.monotonic() < deadline
        time.sleep(0.02)
peer.sendall(me.encode())
connection, _ = server.accept()
print("heard", connection.recv(100).decode(), "uid", os.getuid(), flush=True)
"""


def test_workers_on_two_nodes_reach_each_other_by_name(stage: Stage) -> None:
    plan = stage.plan(PEERS, PEERS)
    assert stage.backend.addresses(plan) == {
        "worker-0": ["worker-0:2222"],
        "worker-1": ["worker-1:2222"],
    }
    stage.backend.start(plan)
    stage.backend.start(plan)
    first, second = stage.wait_for_end(0, 1)
    assert first == "heard worker-1 uid 10001\n"
    assert second == "heard worker-0 uid 10001\n"
    assert {name: one.node for name, one in stage.seen().items()} == {
        "worker-0": "node-1",
        "worker-1": "node-2",
    }


FACTS = """
import json, os, pathlib
status = dict(
    line.split(":\\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines()
    if ":\\t" in line
)
memory = pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
cpu = pathlib.Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
pids = pathlib.Path("/sys/fs/cgroup/pids/pids.max")
shm = os.statvfs("/dev/shm")
pathlib.Path("/trainyard/checkpoints/state").write_text("kept")
print(json.dumps({
    "uid": os.getuid(), "capabilities": int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"],
    "memory": int(memory.read_text()), "cpu": int(cpu.read_text()), "pids": pids.read_text(),
    "shm": shm.f_blocks * shm.f_frsize, "home": os.environ["HOME"],
    "settings": oct(os.stat("/trainyard/process/runner.json").st_mode),
    "visible": os.environ["NVIDIA_VISIBLE_DEVICES"], "cuda": os.environ["CUDA_VISIBLE_DEVICES"],
}))
"""
MEBIBYTE = 1024**2


def test_a_process_has_its_share_and_no_privileges(stage: Stage) -> None:
    share = {"cpus": 0.5, "memory_bytes": 100 * MEBIBYTE, "shm_bytes": 32 * MEBIBYTE}
    stage.start(FACTS, **share)
    facts = json.loads(stage.wait_for_end(0)[0])
    assert facts == {
        "uid": 10001,
        "capabilities": 0,
        "no_new_privileges": "1",
        "memory": (100 + 64) * MEBIBYTE,
        "cpu": 50_000,
        "pids": "4096\n",
        "shm": 32 * MEBIBYTE,
        "home": "/trainyard/home",
        "settings": "0o100400",
        "visible": "void",
        "cuda": "",
    }


def test_a_runner_gets_the_certificates_by_which_it_trusts_the_web(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("certificates")
    plan = stage.plan("import os; print(open('/trainyard/ca.pem').read(), os.getcwd())")
    variables = {
        **plan.processes[0].environment,
        "TRAINYARD_CA_BUNDLE": str(tmp_path / "ca.pem"),
    }
    stage.backend.start(
        replace(plan, processes=(replace(plan.processes[0], environment=variables),))
    )
    assert stage.wait_for_end(0) == ["certificates /trainyard/process/work\n"]


def test_a_process_sees_the_gpus_it_was_given_and_the_swarm_is_told_its_share(
    stage: Stage,
) -> None:
    plan = stage.start(FACTS, gpus=("GPU-node-1-b",), cpus=0.25, memory_bytes=100 * MEBIBYTE)
    facts = json.loads(stage.wait_for_end(0)[0])
    assert facts["visible"] == facts["cuda"] == "GPU-node-1-b"
    service = stage.service(0)
    assert service["TaskTemplate"]["Resources"]["Reservations"] == {
        "NanoCPUs": 250_000_000,
        "MemoryBytes": (100 + 64) * MEBIBYTE,
    }
    token = plan.processes[0].environment["TRAINYARD_PROCESS_TOKEN"]
    assert token not in json.dumps(service)


def test_a_gpu_that_another_service_of_the_swarm_reserves_is_not_offered(stage: Stage) -> None:
    with stage.swarm.manager.engine.client() as client:
        other = client.services.create(
            stage.image,
            command=["python3", "-c", "import time; time.sleep(600)"],
            constraints=["node.hostname==node-2"],
            resources=Resources(generic_resources={"GPU": 1}),
            networks=[],
        )
        try:
            wait_for(lambda: _gpus_offered(stage) == 3, "a GPU to be taken", 30)
        finally:
            other.remove()
    wait_for(lambda: _gpus_offered(stage) == 4, "the GPU to be free again", 30)


def _gpus_offered(stage: Stage) -> int:
    return sum(len(node.gpus) for node in stage.backend.check())


SLEEPS = "import time; print('up', flush=True); time.sleep(600)"


CALLS = """
import socket
for host in ("worker-0", {address!r}):
    try:
        with socket.create_connection((host, 2222), timeout=3) as peer:
            print(peer.recv(5).decode(), flush=True)
    except OSError:
        print("nobody", flush=True)
"""


def test_groups_do_not_reach_each_other(stage: Stage) -> None:
    stage.start(ANSWERS, group="run-2-1", nodes=("node-2",))
    wait_for(lambda: stage.told(0, "run-2-1").log, "the other group to listen", START_SECONDS)
    stage.start(SLEEPS, CALLS.format(address=stage.address_of("run-2-1")), nodes=("node-2",))
    assert stage.wait_for_end(1) == ["nobody\nnobody\n"]


def test_a_container_that_is_killed_shows_how_it_ended(stage: Stage) -> None:
    stage.start(SLEEPS, nodes=("node-2",))
    wait_for(lambda: stage.told(0).log, "the program to run", START_SECONDS)
    with stage.swarm.nodes[1].engine.client() as client:
        (container,) = client.containers.list(filters=stage.labels(stage.group))
        container.kill()
    ended = wait_for(lambda: stage.ended(0), "the end of the container to show", 30)
    assert ended.state == ProcessStatusState.EXITED
    assert ended.exit_code == 137
    assert ended.node == "node-2"
    assert "exit code 137" in ended.reason


def test_an_image_that_a_node_lacks_is_told_with_the_way_out(stage: Stage) -> None:
    missing = f"{stage.swarm.registry}/plain@sha256:{'0' * 64}"
    stage.start(SLEEPS, image=missing)
    ended = wait_for(lambda: stage.ended(0), "the refusal to show", 60)
    assert ended.state == ProcessStatusState.GONE
    assert "its image is not there on node-1" in ended.reason
    assert "registry" in ended.reason
    with pytest.raises(BackendError, match="trainyard-tests/none is not there"):
        stage.start(SLEEPS, image="trainyard-tests/none", group="run-2-1")


def test_an_image_without_a_registry_serves_on_the_nodes_that_have_it(stage: Stage) -> None:
    with stage.swarm.manager.engine.client() as client:
        client.images.get(stage.image).tag("trainyard-tests/here", "1")
    stage.start("print('ran')", image="trainyard-tests/here:1")
    assert stage.wait_for_end(0) == ["ran\n"]


def test_a_share_that_no_node_has_free_is_waited_for_with_the_swarms_own_words(
    stage: Stage,
) -> None:
    stage.start(SLEEPS, cpus=900.0)
    wait_for(lambda: "insufficient resources" in stage.waits(0), "the swarm to say why", 30)


def test_a_gang_is_not_started_in_part(stage: Stage) -> None:
    with pytest.raises(BackendError, match="given node node-9, which is not in the swarm"):
        stage.start(SLEEPS, SLEEPS, nodes=("node-1", "node-9"))
    assert stage.left() == []


def test_a_drained_node_is_shown_and_gets_nothing(stage: Stage) -> None:
    with stage.swarm.changed("node-2", Availability="drain"):
        drained = {node.name: node for node in stage.backend.check()}["node-2"]
        assert not drained.healthy
        assert drained.message == "The swarm's admin set the node's availability to drain."
        with pytest.raises(BackendError, match=r"was given node node-2\. The swarm's admin"):
            stage.start(SLEEPS, nodes=("node-2",))
    assert stage.left() == []


def test_a_target_may_be_held_to_some_nodes(stage: Stage) -> None:
    with closing(SwarmBackend(replace(stage.access, nodes=("node-2",)))) as held:
        assert [node.name for node in held.check()] == ["node-2"]
        held.start(stage.plan(SLEEPS, node=""))
    wait_for(lambda: stage.told(0).log, "the program to run", START_SECONDS)
    assert stage.seen()["worker-0"].node == "node-2"


def test_an_engine_that_manages_no_swarm_says_so(stage: Stage) -> None:
    address = stage.swarm.nodes[1].engine.address
    with (
        closing(SwarmBackend(replace(stage.access, address=address))) as worker,
        pytest.raises(BackendError, match="This node is not a swarm manager"),
    ):
        worker.check()


def test_a_web_that_other_machines_cannot_reach_is_refused(stage: Stage) -> None:
    plan = stage.plan(SLEEPS)
    variables = {**plan.processes[0].environment, "TRAINYARD_URL": "http://127.0.0.1:8000"}
    process = replace(plan.processes[0], environment=variables)
    with pytest.raises(BackendError, match=r"cannot reach this server at http://127\.0\.0\.1:8000"):
        stage.backend.start(replace(plan, processes=(process,)))
    assert stage.left() == []


def test_a_node_that_is_cut_off_is_told_and_nothing_is_left_when_it_is_back(stage: Stage) -> None:
    stage.start(SLEEPS, SLEEPS)
    wait_for(lambda: all(stage.told(n).log for n in (0, 1)), "both to run", START_SECONDS)
    lost = stage.swarm.nodes[1]
    lost.cut()
    try:
        ended = wait_for(lambda: stage.ended(1), "the loss to show", 60)
        assert ended.state == ProcessStatusState.GONE
        assert "its node node-2 is down" in ended.reason
        assert stage.seen()["worker-0"].state == ProcessStatusState.ALIVE
        assert {node.name: node.healthy for node in stage.backend.check()} == {
            "node-1": True,
            "node-2": False,
        }
        stage.backend.remove(stage.group)
    finally:
        lost.restore()
    wait_for(stage.swarm.is_whole, "the node to be back", 60)
    wait_for(lambda: not stage.left(), "nothing to be left", 60)
