"""The swarm target on a real two-node swarm: what it starts, shows, ends, and leaves behind."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.docker.plain_image import plain_image
from tests.docker.swarm import HOST, Swarm
from tests.runner.web import FakeWeb, Told, spec
from tests.waiting import wait_for
from workspace.compute.access import TargetAccess
from workspace.compute.base import GroupPlan, ProcessPlan, Sighting
from workspace.compute.swarm import SwarmBackend

pytestmark = pytest.mark.docker
NODES = ("node-1", "node-2")
START_SECONDS = 60.0


class Stage:
    """A group of workers on a swarm, and the web that their runners talk to."""

    def __init__(self, swarm: Swarm, web: FakeWeb, image: str, home: Path) -> None:
        self.swarm, self.web, self.image = swarm, web, image
        self.access = TargetAccess(
            home=str(home),
            installation=f"test{uuid4().hex[:6]}",
            address=swarm.address,
            registry=swarm.registry,
        )
        self.backend = SwarmBackend(self.access)
        self.group = "run-1-1"
        self.groups = {self.group}

    def plan(self, *scripts: str, **details: Any) -> GroupPlan:
        """Plan a worker for each script, on one node after the other."""
        group = details.pop("group", self.group)
        self.groups.add(group)
        image = details.pop("image", self.image)
        nodes = details.pop("nodes", NODES)
        processes = []
        for index, script in enumerate(scripts):
            token = f"{group}-worker-{index}"
            self.web.expect(token, spec=spec(["python", "-c", script]))
            variables = {"TRAINYARD_URL": self.web.url, "TRAINYARD_PROCESS_TOKEN": token}
            given = {"ports": 1, "node": nodes[index % len(nodes)], **details}
            processes.append(ProcessPlan("worker", index, variables, **given))
        return GroupPlan(group, image, tuple(processes))

    def told(self, index: int, group: str = "") -> Told:
        return self.web.told[f"{group or self.group}-worker-{index}"]

    def start(self, *scripts: str, **details: Any) -> GroupPlan:
        plan = self.plan(*scripts, **details)
        self.backend.start(plan)
        return plan

    def seen(self, group: str = "") -> Mapping[str, Sighting]:
        return {one.name: one for one in self.backend.observe(group or self.group)}

    def wait_for_end(self, *indexes: int) -> list[str]:
        """Give what each worker printed, once it is over and its log is there."""
        told = [self.told(index) for index in indexes]

        def is_over() -> bool:
            return all(one.collected for one in told)

        wait_for(is_over, f"the end of {indexes}: {self.seen()}", START_SECONDS)
        assert [one.ending["exit_code"] for one in told if one.ending] == [0] * len(told), [
            bytes(one.log) for one in told
        ]
        return [one.log.decode() for one in told]

    def left(self) -> list[str]:
        return self.swarm.left_of(f"trainyard.installation={self.access.installation}")


@pytest.fixture(scope="module")
def image(swarm: Swarm) -> str:
    return plain_image(swarm)


@pytest.fixture
def stage(swarm: Swarm, image: str, home: Path) -> Iterator[Stage]:
    web = FakeWeb(host=HOST)
    made = Stage(swarm, web, image, home)
    yield made
    for group in made.groups:
        made.backend.remove(group)
    web.close()
    wait_for(lambda: not (made.left()), "nothing to be left on the swarm", 30)


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
deadline = time.monotonic() + 20
while True:
    try:
        peer = socket.create_connection((other[me], 2222), timeout=20)
        break
    except ConnectionRefusedError:
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
