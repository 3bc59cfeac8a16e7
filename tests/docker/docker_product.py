"""A whole Trainyard with an engine as its compute target, and what is seen of it on the engine."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.cleaning import clear
from tests.docker.engine import Engine
from tests.product.product import Product
from tests.product.sources import Source
from workspace.compute.local.ports import free_port

TARGET = "engine"


class DockerProduct(Product):
    """A product that has the engine on its usual socket, and a target for it."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.grpc_port = free_port(())
        variables = {"DOCKER_HOST": engine.address, "TRAINYARD_GRPC_PORT": str(self.grpc_port)}
        super().__init__(folder, variables)
        self.engine = engine

    def start(self) -> None:
        is_new = self._launched is None
        super().start()
        if is_new:
            self.make_target()

    def make_target(self) -> None:
        self.post("/targets", {"name": TARGET, "kind": "docker", "address": self.engine.address})

    @property
    def installation(self) -> str:
        key = (self.home / "secret_key").read_bytes()
        return hashlib.sha256(b"installation" + key).hexdigest()[:12]

    def submit(self, source: Source, **config: Any) -> int:
        return super().submit(source, **{"compute_target": TARGET, **config})

    def container(self, number: int, process: str = "worker-0", attempt: int = 1) -> str:
        """Name the container of a process: in a product of one team, a run's number is its key."""
        return f"ty-{self.installation}-run-{number}-{attempt}-{process}"

    def left(self) -> list[str]:
        """Name all containers, networks and checkpoints on the engine that are this product's."""
        ours: dict[str, Any] = {"label": f"trainyard.installation={self.installation}"}
        with self.engine.client() as client:
            volumes = client.volumes.list(filters=ours)
            return [
                *(
                    one.name or ""
                    for one in client.containers.list(True, filters=ours, ignore_removed=True)
                ),
                *(one.name or "" for one in client.networks.list(filters=ours)),
                *(volume.name for volume in volumes if "uv-cache" not in volume.name),
            ]

    def end(self) -> None:
        super().end()
        with self.engine.client() as client:
            clear(client, self.installation)


@pytest.fixture(scope="session")
def one_docker_product(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DockerProduct]:
    made = DockerProduct(tmp_path_factory.mktemp("docker-product"), engine)
    yield made
    made.end()


@pytest.fixture
def docker_product(one_docker_product: DockerProduct) -> DockerProduct:
    one_docker_product.start()
    return one_docker_product
