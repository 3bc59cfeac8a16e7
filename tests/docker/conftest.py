"""Real engines for the tests of this folder."""

from tests.docker.engine import engine

__all__ = ["engine"]
