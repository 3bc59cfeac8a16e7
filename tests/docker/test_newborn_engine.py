"""P1: an engine at its very first start names no gateway of its default bridge."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.engine import Engine, missing_for_an_engine, start_dockerd, stop_dockerd
from tests.waiting import wait_for
from workspace.compute.engine.discovery import find_local_engine

pytestmark = pytest.mark.docker


@pytest.fixture
def newborn() -> Iterator[tuple[Engine, Path]]:
    """Yield an engine that never ran before, with a network of its own, and its folder."""
    if missing := missing_for_an_engine():
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="newborn-"))
    engine = Engine(f"unix://{folder}/docker.sock")
    start_dockerd(folder, prefix=("unshare", "--net"))
    try:
        wait_for(engine.answers, "an answer of the newborn engine", 60)
        yield engine, folder
    finally:
        stop_dockerd(folder)
        shutil.rmtree(folder, ignore_errors=True)


def test_containers_of_an_engine_at_its_first_start_know_where_its_machine_is(
    newborn: tuple[Engine, Path],
) -> None:
    engine, folder = newborn
    with engine.client() as client:
        (configured,) = client.networks.get("bridge").attrs["IPAM"]["Config"]
    found = find_local_engine(engine.address)
    assert found is not None
    namespace = f"--net=/proc/{(folder / 'pid').read_text().strip()}/ns/net"
    shown = subprocess.run(
        ["nsenter", namespace, "ip", "-4", "-brief", "address", "show", "docker0"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.split()[2].partition("/")[0] == found.gateway
    assert "Gateway" not in configured or configured["Gateway"] == found.gateway
