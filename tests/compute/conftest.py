from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.stage import make_environment
from tests.runner.web import FakeServer
from workspace.compute.access import TargetAccess
from workspace.compute.local.backend import LocalBackend


@pytest.fixture
def web() -> Iterator[FakeServer]:
    web = FakeServer()
    yield web
    web.close()


@pytest.fixture
def yard(home: Path) -> Iterator[Path]:
    """A home with a bare environment, from which every process is gone at the end."""
    make_environment(home)
    yield home
    backend = LocalBackend(TargetAccess(home=str(home)))
    for folder in (home / "local").glob("*/"):
        backend.remove(folder.name)
