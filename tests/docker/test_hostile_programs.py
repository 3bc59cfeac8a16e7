"""One hostile program in a container tries all that it should not reach, and reports what it did.

docs/security.md names these tests for each cell of its table.
"""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.docker import hostile_program
from tests.docker.stage import Yard, python
from tests.runner.web import until

pytestmark = pytest.mark.docker


@pytest.fixture
def report(yard: Yard, tmp_path: Path) -> dict[str, Any]:
    """Run the program beside another run, and return what it reached."""
    other = yard.group(python(hostile_program.ANSWERS)).start()
    until(lambda: b"up" in other.told[0].log, "the other run to listen")
    with yard.engine.client() as client:
        networks = client.api.inspect_container(yard.container(other))["NetworkSettings"]
        (network,) = networks["Networks"].values()
        gateway = client.api.inspect_network("bridge")["IPAM"]["Config"][0]["Gateway"]
    with socket.create_connection((network["IPAddress"], 2222), timeout=30) as heard:
        assert heard.recv(5) == b"found"  # from this machine, but not from another run
    secret = Path(yard.access.home) / "secret_key"
    secret.write_text("secret")
    marker = f"outlives-{tmp_path.name}-{os.getpid()}"
    group = yard.group(python(""), memory_bytes=hostile_program.MEMORY)
    group.told[0].spec["command"] = hostile_program.told_to(
        sockets=["/var/run/docker.sock", "/run/docker.sock", str(yard.engine.socket)],
        gateway=gateway,
        others=[network["IPAddress"], f"worker-0.ty-{other.label}", yard.container(other)],
        home=[str(secret), yard.access.home],
        token=f"{group.label}-worker-0",
        marker=marker,
    )
    group.start()
    group.until_collected()
    assert group.told[0].ending
    assert group.told[0].ending["exit_code"] == hostile_program.EXIT_CODE
    until(lambda: not hostile_program.processes_named(marker), "the program's daemon to end")
    return hostile_program.report_in(bytes(group.told[0].log))


def test_a_hostile_program_reaches_nothing_that_is_not_its_own(report: dict[str, Any]) -> None:
    hostile_program.check_reached_nothing(report)


def test_what_a_container_does_not_keep_from_it(report: dict[str, Any]) -> None:
    hostile_program.check_kept(report)
