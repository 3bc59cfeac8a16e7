"""Groups of processes in containers, as the docker backend starts them, with a web of the tests."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from docker import DockerClient
from docker.errors import ImageNotFound

from tests.docker.engine import BASE_IMAGE, Engine
from tests.runner.web import FakeServer, Told, spec, until
from workspace.compute.access import TargetAccess
from workspace.compute.base import GroupPlan, ProcessPlan, ProcessStatusState
from workspace.compute.docker.backend import DockerBackend

PLAIN_IMAGE = "trainyard-tests/plain:1"
SLEEPS = "import time\nprint('up', flush=True)\ntime.sleep(600)"


def ensure_plain_image(client: DockerClient) -> None:
    """Make an environment that is a bare Python."""
    try:
        client.images.get(PLAIN_IMAGE)
    except ImageNotFound:
        made = f"FROM {BASE_IMAGE}\nRUN python3 -m venv --without-pip /opt/environment\n"
        client.images.build(fileobj=io.BytesIO(made.encode()), tag=PLAIN_IMAGE, rm=True)


def python(script: str, **changes: Any) -> dict[str, Any]:
    return spec(["python", "-c", script], **changes)


class Group:
    """A group of workers, one for each spec."""

    def __init__(
        self,
        backend: DockerBackend,
        web: FakeServer,
        specs: Sequence[dict[str, Any]],
        **each: Any,
    ) -> None:
        self.backend = backend
        self.label = f"run-{uuid4().hex[:8]}-1"
        self.names = [f"worker-{index}" for index in range(len(specs))]
        self.told: list[Told] = [
            web.expect(f"{self.label}-{name}", spec=one)
            for name, one in zip(self.names, specs, strict=True)
        ]
        self.plan = GroupPlan(
            self.label,
            PLAIN_IMAGE,
            tuple(
                ProcessPlan(
                    "worker",
                    index,
                    {
                        "TRAINYARD_URL": f"http://127.0.0.1:{web.port}",
                        "TRAINYARD_PROCESS_TOKEN": f"{self.label}-{name}",
                    },
                    ports=1,
                    **each,
                )
                for index, name in enumerate(self.names)
            ),
            checkpoints=self.label.removesuffix("-1"),
        )

    def start(self) -> "Group":
        self.backend.start(self.plan)
        return self

    def states(self) -> list[ProcessStatusState]:
        return [process_status.state for process_status in self.backend.observe(self.label)]

    def until_collected(self) -> None:
        until(lambda: all(told.collected for told in self.told), f"collected: {self.told}")


class Yard:
    """An engine with a backend of an installation of its own, and a web that containers reach."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self.engine = engine
        self.web = FakeServer(host="0.0.0.0")  # noqa: S104 - containers come by the bridge
        self.access = TargetAccess(
            home=str(home),
            installation=uuid4().hex[:12],
            server_url=f"http://127.0.0.1:{self.web.port}",
            address=engine.address,
        )
        self.backend = DockerBackend(self.access)
        self.groups: list[Group] = []

    def group(self, *specs: dict[str, Any], **each: Any) -> Group:
        self.groups.append(Group(self.backend, self.web, specs, **each))
        return self.groups[-1]

    def one(self, script: str, **each: Any) -> tuple[Group, Told]:
        """Start one process that runs a script."""
        group = self.group(python(script), **each).start()
        return group, group.told[0]

    def container(self, group: Group, name: str = "worker-0") -> str:
        """Name the container of a process."""
        return f"ty-{self.access.installation}-{group.label}-{name}"

    def left(self) -> list[str]:
        """Name all that is ours on the engine."""
        ours = f"trainyard.installation={self.access.installation}"
        with self.engine.client() as client:
            return [
                *(one.name or "" for one in client.containers.list(True, filters={"label": ours})),
                *(one.name or "" for one in client.networks.list(filters={"label": ours})),
                *(one.name or "" for one in client.volumes.list(filters={"label": ours})),
            ]

    def end(self) -> None:
        for group in self.groups:
            self.backend.remove(group.label)
            self.backend.remove_checkpoints(group.plan.checkpoints)
        assert self.left() == []
        self.backend.close()
        self.web.close()


@pytest.fixture
def yard(engine: Engine, home: Path) -> Iterator[Yard]:
    with engine.client() as client:
        ensure_plain_image(client)
    made = Yard(engine, home)
    yield made
    made.end()
