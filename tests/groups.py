"""Which tests run in one process when several run them (pytest -n), and which begin first."""

from pathlib import PurePath

import pytest
from xdist.scheduler import LoadScopeScheduling

# What these share is costly: the nodes of a swarm, an engine, a product, servers of models.
LONGEST_FIRST = ("swarm", "engine", "product", "model server")
# A test of the swarm builds the wheel meanwhile, which takes a quarter of an hour.
TAKES_THE_WHEEL = "test_horovod_runs.py"
COSTLY = {"tensorflow", "browser", "processes"}


def group_of(nodeid: str) -> str:
    """Name what a test shares with others: by its folder, else its file."""
    path = nodeid.partition("::")[0]
    match PurePath(path).parts[1:]:
        case ("docker", str(name)):
            return "swarm" if name.startswith("test_swarm") else "engine"
        case ("product" | "chaos" | "e2e", *_) | ("reports", "product", *_):
            return "product"
        case ("modelserver", *_) | ("reports", "modelserver", *_):
            return "model server"
    return path


def place_of(item: pytest.Item) -> tuple[int, bool]:
    """Order the tests so that what takes long begins first, and short ones fill the end."""
    group = group_of(item.nodeid)
    if group in LONGEST_FIRST:
        return LONGEST_FIRST.index(group), item.path.name == TAKES_THE_WHEEL
    is_costly = not COSTLY.isdisjoint(mark.name for mark in item.iter_markers())
    return len(LONGEST_FIRST) + (not is_costly), False


class GroupScheduling(LoadScopeScheduling):
    """Gives each process whole groups, one after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
