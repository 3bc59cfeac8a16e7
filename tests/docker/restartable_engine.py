"""An engine that a test may stop, kill and start again, in a network namespace of its own.

The engine's rules for packets would mix with those of another engine in the same namespace.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
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

FOLDER = CACHE / "own-engine"
NAMESPACE, LINK = "trainyard-own", "ty-own"
SERVING_IMAGE = "trainyard-tests/serving:{version}"
HOST, INSIDE = "10.215.0.1", "10.215.0.2"
# As other machines reach the engine.
REMOTE = f"tcp://{INSIDE}:2375"


@dataclass(frozen=True)
class OwnEngine(Engine):
    """An engine that only one test at a time has."""

    def start(self) -> None:
        enter = ("ip", "netns", "exec", NAMESPACE, "unshare", "--uts", "sh", "-ec", ENTER, "sh")
        doors = ("--tls=false", f"--host={REMOTE}")
        start_dockerd(FOLDER, *doors, prefix=(*enter, NAMESPACE, control_groups()))
        wait_for(self.answers, f"an answer of dockerd ({FOLDER}/log)", START_SECONDS)

    def stop(self) -> None:
        """Stop it in good order, and with it all of its containers."""
        stop_dockerd(FOLDER)

    def kill(self) -> None:
        """kill -9 it and its containerd; its containers go on until it starts again."""
        for path in (FOLDER / "pid", FOLDER / "exec" / "containerd" / "containerd.pid"):
            _kill(int(path.read_text()))
            path.unlink()


class OwnEngineProduct(DockerProduct):
    """A product that reaches the engine's containers, and they it, over a link."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        variables = {"TRAINYARD_BIND": "0.0.0.0", "TRAINYARD_SERVING_IMAGE": SERVING_IMAGE}  # noqa: S104
        Product.__init__(self, folder, variables)
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
                "web_url": f"http://{HOST}:{port}",
            },
        )


@pytest.fixture
def own_engine() -> Iterator[OwnEngine]:
    if missing := missing_for_an_engine():
        pytest.skip(missing)
    with only_one(FOLDER / "lock"), _network():
        engine = OwnEngine(f"unix://{FOLDER}/docker.sock")
        forget_networks(FOLDER)
        engine.start()
        ensure_base_image(engine)
        yield engine
        engine.stop()


@pytest.fixture
def own_engine_product(own_engine: OwnEngine, tmp_path: Path) -> Iterator[OwnEngineProduct]:
    folder = tmp_path / "product"
    folder.mkdir()
    made = OwnEngineProduct(folder, own_engine)
    made.start()
    yield made
    made.end()


@contextmanager
def _network() -> Iterator[None]:
    """Make the namespace, and a link between it and this machine."""
    _take_down()
    inside = ("ip", "-n", NAMESPACE)
    for command in (
        ("ip", "netns", "add", NAMESPACE),
        ("ip", "link", "add", LINK, "type", "veth", "peer", "eth0", "netns", NAMESPACE),
        ("ip", "address", "add", f"{HOST}/24", "dev", LINK),
        ("ip", "link", "set", LINK, "up"),
        (*inside, "address", "add", f"{INSIDE}/24", "dev", "eth0"),
        (*inside, "link", "set", "eth0", "up"),
        (*inside, "link", "set", "lo", "up"),
    ):
        subprocess.run(command, check=True)
    yield
    _take_down()


def _take_down() -> None:
    for command in (("ip", "link", "delete", LINK), ("ip", "netns", "delete", NAMESPACE)):
        subprocess.run(command, capture_output=True, check=False)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid), f"the end of process {pid}")
