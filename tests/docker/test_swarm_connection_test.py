"""The connection test of a real Swarm."""

import pytest

from tests.docker.swarm import Swarm
from tests.docker.test_connection_tests import target_access
from workspace.compute.connection_test import ServerAddress, StepOutcome
from workspace.compute.docker.backend import DockerBackend
from workspace.compute.swarm.backend import SwarmBackend

pytestmark = pytest.mark.docker


def test_a_swarm_works_and_its_manager_stands_for_the_same_machines(swarm: Swarm) -> None:
    access = target_access(swarm.address, swarm.registry)
    *_, steps = SwarmBackend(access).connection_test(ServerAddress("http://192.0.2.1:8000"))
    tried = {step.name: step for step in steps}
    assert tried["Engine type"].said.endswith("2 nodes.")
    assert tried["Node resources"].outcome == StepOutcome.OK
    assert tried["GPUs"].said.startswith("4")
    assert tried["Registry accepts images"].outcome == StepOutcome.OK
    whole = SwarmBackend(access).machines_id()
    assert whole
    assert DockerBackend(access).machines_id() == whole
