"""Groups of processes on a real swarm, with a web of the tests for their runners."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.docker.plain_image import plain_image
from tests.docker.swarm import HOST, Swarm
from tests.runner.web import FakeServer, Told, spec
from tests.waiting import wait_for
from workspace.compute.access import TargetAccess
from workspace.compute.base import GroupPlan, ProcessPlan, ProcessStatus, ProcessStatusState
from workspace.compute.swarm.backend import SwarmBackend

NODES = ("node-1", "node-2")
START_SECONDS = 180.0


def token_of(group: str, index: int) -> str:
    return f"token-{group}-{index}"


class Stage:
    """A group of workers on a swarm, and the web that their runners talk to."""

    def __init__(self, swarm: Swarm, web: FakeServer, image: str, home: Path) -> None:
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
            token = token_of(group, index)
            names = [f"worker-{number}" for number in range(len(scripts))]
            self.web.expect(token, spec=spec(["python", "-c", script], peers=names))
            variables = {"TRAINYARD_URL": self.web.url, "TRAINYARD_PROCESS_TOKEN": token}
            given = {"ports": 1, "node": nodes[index % len(nodes)], **details}
            processes.append(ProcessPlan("worker", index, variables, **given))
        return GroupPlan(group, image, tuple(processes))

    def told(self, index: int, group: str = "") -> Told:
        return self.web.told[token_of(group or self.group, index)]

    def start(self, *scripts: str, **details: Any) -> GroupPlan:
        plan = self.plan(*scripts, **details)
        self.backend.start(plan)
        return plan

    def seen(self, group: str = "") -> Mapping[str, ProcessStatus]:
        return {one.name: one for one in self.backend.observe(group or self.group)}

    def wait_for_end(self, *indexes: int) -> list[str]:
        """Return what each worker printed, once it is over and its log is there."""
        told = [self.told(index) for index in indexes]

        def is_over() -> bool:
            return all(one.collected for one in told)

        wait_for(is_over, f"the end of {indexes}: {self.seen()}", START_SECONDS)
        assert [one.ending["exit_code"] for one in told if one.ending] == [0] * len(told), [
            bytes(one.log) for one in told
        ]
        return [one.log.decode() for one in told]

    def ended(self, index: int) -> ProcessStatus | None:
        one = self.seen()[f"worker-{index}"]
        return None if one.state == ProcessStatusState.ALIVE else one

    def waits(self, index: int) -> str:
        one = self.seen()[f"worker-{index}"]
        return one.reason if one.state == ProcessStatusState.ALIVE else ""

    def service(self, index: int) -> dict[str, Any]:
        """Return what the swarm was asked to run as a worker."""
        name = f"ty-{self.access.installation}-{self.group}-worker-{index}"
        with self.swarm.manager.engine.client() as client:
            asked: dict[str, Any] = client.services.get(name).attrs["Spec"]
            return asked

    def labels(self, group: str) -> dict[str, Any]:
        """Return the filter by which an engine lists what is of this stage's group alone."""
        ours = f"trainyard.installation={self.access.installation}"
        return {"label": [ours, f"trainyard.group={group}"]}

    def address_of(self, group: str) -> str:
        """Return the address of the first worker in its group's network."""
        with self.swarm.manager.engine.client() as client:
            (task,) = client.api.tasks(filters=self.labels(group))
            address: str = task["NetworksAttachments"][0]["Addresses"][0].partition("/")[0]
            return address

    def left_of_kind(self, kind: str) -> list[str]:
        return [one for one in self.left() if one.startswith(kind)]

    def left(self) -> list[str]:
        return self.swarm.left_of(f"trainyard.installation={self.access.installation}")


@pytest.fixture(scope="module")
def image(swarm: Swarm) -> str:
    return plain_image(swarm)


@pytest.fixture(scope="module")
def webs(swarm: Swarm) -> Iterator[list[FakeServer]]:
    """Keep the webs of all tests until their runners are gone, for which a swarm takes a while."""
    opened: list[FakeServer] = []
    yield opened
    wait_for(lambda: not swarm.left_of("trainyard.group"), "nothing to be left on the swarm", 60)
    for web in opened:
        web.close()


@pytest.fixture
def stage(swarm: Swarm, image: str, home: Path, webs: list[FakeServer]) -> Iterator[Stage]:
    webs.append(FakeServer(host=HOST))
    made = Stage(swarm, webs[-1], image, home)
    yield made
    for group in made.groups:
        made.backend.remove(group)
    made.backend.close()
