"""Real engines for the tests of this folder."""

from tests.docker.docker_product import docker_product, one_docker_product
from tests.docker.restartable_engine import own_engine, own_engine_product
from tests.docker.stage import yard
from tests.docker.swarm_product import one_swarm_product, swarm_product

__all__ = [
    "docker_product",
    "one_docker_product",
    "one_swarm_product",
    "own_engine",
    "own_engine_product",
    "swarm_product",
    "yard",
]
