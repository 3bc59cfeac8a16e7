"""Real engines for the tests of this folder."""

from tests.docker.engine import engine
from tests.docker.stage import yard
from tests.docker.swarm import swarm

__all__ = ["engine", "swarm", "yard"]
