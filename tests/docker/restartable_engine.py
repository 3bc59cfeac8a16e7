"""An engine that a test may stop, kill and start again, in a network namespace of its own.

The engine's rules for packets would mix with those of another engine in the same namespace.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.config.server.launched import is_alive
from tests.docker.docker_product import TARGET, DockerProduct
from tests.docker.engine import (
    CACHE,
    START_SECONDS,
    Engine,
    ensure_base_image,
    forget_networks,
    missing_for_an_engine,
    only_one,
    start_dockerd,
    stop_dockerd,
)
from tests.docker.swarm import ENTER, control_groups
from tests.product.product import Product
from tests.waiting import wait_for

SERVING_IMAGE = "trainyard-tests/serving:{version}"


@dataclass(frozen=True)
class OwnEngine(Engine):
    """An engine that only one test at a time has."""

    name: str
    network: str

    @property
    def folder(self) -> Path:
        return CACHE / f"{self.name}-engine"

    @property
    def namespace(self) -> str:
        return f"trainyard-{self.name}"

    @property
    def link(self) -> str:
        return f"ty-{self.name}"

    @property
    def server(self) -> str:
        """Return this machine's address, as the engine's containers reach it."""
        return f"{self.network}.1"

    @property
    def inside(self) -> str:
        return f"{self.network}.2"

    @property
    def remote_address(self) -> str:
        """Return the address by which other machines reach the engine."""
        return f"tcp://{self.inside}:2375"

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def start(self) -> None:
        space = self.namespace
        enter = ("ip", "netns", "exec", space, "unshare", "--uts", "sh", "-ec", ENTER, "sh")
        doors = ("--tls=false", f"--host={self.remote_address}")
        start_dockerd(self.folder, *doors, prefix=(*enter, space, control_groups()))
        wait_for(self.answers, f"an answer of dockerd ({self.folder}/log)", START_SECONDS)

    def stop(self) -> None:
        """Stop it in good order, and with it all of its containers."""
        stop_dockerd(self.folder)

    def kill(self) -> None:
        """kill -9 it and its containerd; its containers go on until it starts again."""
        for path in (self.folder / "pid", self.folder / "exec" / "containerd" / "containerd.pid"):
            _kill(int(path.read_text()))
            path.unlink()

    @contextmanager
    def linked(self) -> Iterator[None]:
        """Make its namespace, and a link between that and this machine."""
        self._take_down()
        inside = ("ip", "-n", self.namespace)
        pair = ("type", "veth", "peer", "eth0", "netns", self.namespace)
        for command in (
            ("ip", "netns", "add", self.namespace),
            ("ip", "link", "add", self.link, *pair),
            ("ip", "address", "add", f"{self.server}/24", "dev", self.link),
            ("ip", "link", "set", self.link, "up"),
            (*inside, "address", "add", f"{self.inside}/24", "dev", "eth0"),
            (*inside, "link", "set", "eth0", "up"),
            (*inside, "link", "set", "lo", "up"),
        ):
            subprocess.run(command, check=True)
        yield
        self._take_down()

    def _take_down(self) -> None:
        for command in (
            ("ip", "link", "delete", self.link),
            ("ip", "netns", "delete", self.namespace),
        ):
            subprocess.run(command, capture_output=True, check=False)


class OwnEngineProduct(DockerProduct):
    """A product that reaches the engine's containers, and they it, over a link."""

    engine: OwnEngine

    def __init__(
        self,
        folder: Path,
        engine: OwnEngine,
        variables: Mapping[str, str] | None = None,
        database_server: str | None = None,
    ) -> None:
        ours = {"TRAINYARD_BIND": "0.0.0.0", "TRAINYARD_SERVING_IMAGE": SERVING_IMAGE}  # noqa: S104
        Product.__init__(self, folder, {**ours, **(variables or {})}, database_server)
        self.engine = engine

    def make_target(self) -> None:
        self.add_target(TARGET, self.engine.address)

    def add_target(self, name: str, address: str) -> None:
        port = self.url.rpartition(":")[2]
        self.post(
            "/targets",
            {
                "name": name,
                "kind": "docker",
                "address": address,
                "without_tls": address.startswith("tcp"),
                "web_url": f"http://{self.engine.server}:{port}",
            },
        )


@contextmanager
def running_own_engine(name: str, network: str) -> Iterator[OwnEngine]:
    """Run an engine that has a name, a /24 network and the base image."""
    engine = OwnEngine(f"unix://{CACHE}/{name}-engine/docker.sock", name, network)
    with only_one(engine.folder / "lock"), engine.linked():
        forget_networks(engine.folder)
        engine.start()
        ensure_base_image(engine)
        yield engine
        engine.stop()


@pytest.fixture
def own_engine() -> Iterator[OwnEngine]:
    if missing := missing_for_an_engine():
        pytest.skip(missing)
    with running_own_engine("own", "10.215.0") as engine:
        yield engine


@pytest.fixture
def own_engine_product(own_engine: OwnEngine, tmp_path: Path) -> Iterator[OwnEngineProduct]:
    folder = tmp_path / "product"
    folder.mkdir()
    made = OwnEngineProduct(folder, own_engine)
    made.start()
    yield made
    made.end()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid), f"the end of process {pid}")
