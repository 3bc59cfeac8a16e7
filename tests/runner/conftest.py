from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.stage import make_environment
from tests.runner.web import FakeWeb
from workspace.compute.access import TargetAccess
from workspace.compute.local import LocalBackend


@pytest.fixture
def web() -> Iterator[FakeWeb]:
    web = FakeWeb()
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
