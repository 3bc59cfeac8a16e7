"""A whole Trainyard with a two-node swarm as its compute target."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.swarm import HOST, Swarm
from tests.product.product import Product
from tests.product.sources import Source
from tests.waiting import wait_for

TARGET = "swarm"
# The same for all sessions, so that what one built on the engines' disks serves the next.
SECRET_KEY = "of-the-tests-on-a-swarm-and-of-nothing-else"


class SwarmProduct(Product):
    """A product whose web is reached by the nodes of a swarm, and a target for that."""

    def __init__(self, folder: Path, swarm: Swarm) -> None:
        variables = {
            "SECRET_KEY": SECRET_KEY,
            "TRAINYARD_BIND": "0.0.0.0",  # noqa: S104
            "TRAINYARD_SERVING_IMAGE": f"{swarm.registry}/serving:{{version}}",
        }
        super().__init__(folder, variables)
        self.swarm = swarm
        key = hashlib.sha256(b"installation" + SECRET_KEY.encode())
        self.installation = key.hexdigest()[:12]

    def start(self) -> None:
        is_new = self._launched is None
        super().start()
        if is_new:
            self.post(
                "/targets",
                {
                    "name": TARGET,
                    "kind": "swarm",
                    "address": self.swarm.address,
                    "registry": self.swarm.registry,
                    "web_url": self.url.replace("127.0.0.1", HOST),
                },
            )

    def submit(self, source: Source, **config: Any) -> int:
        return super().submit(source, **{"compute_target": TARGET, **config})

    def change_target(self, **changes: object) -> None:
        answer = self.call("PATCH", f"/targets/{TARGET}", json=changes)
        assert answer.status_code == 200, answer.text

    def nodes_of(self, number: int) -> dict[str, str]:
        """Return the node of each process of a run."""
        processes = self.run(number)["processes"]
        return {process["name"]: process["node"] for process in processes}

    def left(self) -> list[str]:
        """Name all that is this product's on any node, but for images and the build cache."""
        return self.swarm.left_of(f"trainyard.installation={self.installation}")

    def wait_until_nothing_is_left(self) -> None:
        """A swarm ends and removes containers by and by, after it has been told to."""
        wait_for(lambda: not self.left(), f"nothing to be left of {self.left()}", 60)


@pytest.fixture(scope="session")
def one_swarm_product(
    swarm: Swarm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SwarmProduct]:
    made = SwarmProduct(tmp_path_factory.mktemp("swarm-product"), swarm)
    yield made
    made.end()


@pytest.fixture
def swarm_product(one_swarm_product: SwarmProduct) -> SwarmProduct:
    one_swarm_product.start()
    return one_swarm_product
