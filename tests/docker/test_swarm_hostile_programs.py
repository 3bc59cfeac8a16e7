"""The hostile program of test_hostile_programs.py, on a node of a swarm."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.docker import hostile_program
from tests.docker.swarm_stage import START_SECONDS, Stage, image, stage, webs
from tests.waiting import wait_for

__all__ = ["image", "stage", "webs"]
pytestmark = pytest.mark.docker
OTHER = "run-2-1"


@pytest.fixture
def report(stage: Stage, tmp_path: Path) -> dict[str, Any]:
    """Run the program beside another run on the same node, and return what it reached."""
    node = stage.swarm.nodes[1]
    stage.start(hostile_program.ANSWERS, group=OTHER, nodes=("node-2",))
    wait_for(lambda: b"up" in stage.told(0, OTHER).log, "the other run to listen", START_SECONDS)
    with node.engine.client() as client:
        gateway = client.api.inspect_network("docker_gwbridge")["IPAM"]["Config"][0]["Gateway"]
    secret = Path(stage.access.home) / "secret_key"
    secret.write_text("secret")
    marker = f"outlives-{tmp_path.name}-{os.getpid()}"
    plan = stage.plan("", nodes=("node-2",), memory_bytes=hostile_program.MEMORY)
    told = stage.told(0)
    told.spec["command"] = hostile_program.told_to(
        sockets=["/var/run/docker.sock", "/run/docker.sock", str(node.engine.socket)],
        gateway=gateway,
        others=[stage.address_of(OTHER), f"ty-{stage.access.installation}-{OTHER}-worker-0"],
        home=[str(secret), stage.access.home],
        token=plan.processes[0].environment["TRAINYARD_PROCESS_TOKEN"],
        marker=marker,
    )
    stage.backend.start(plan)
    wait_for(lambda: told.collected, f"the program's end: {stage.seen()}", START_SECONDS)
    assert told.ending
    assert told.ending["exit_code"] == hostile_program.EXIT_CODE
    wait_for(
        lambda: not hostile_program.processes_named(marker), "the end of its daemon", START_SECONDS
    )
    return hostile_program.report_in(bytes(told.log))


def test_a_hostile_program_on_a_swarm_reaches_nothing_and_keeps_what_it_may(
    report: dict[str, Any],
) -> None:
    hostile_program.check_reached_nothing(report)
    hostile_program.check_kept(report)
