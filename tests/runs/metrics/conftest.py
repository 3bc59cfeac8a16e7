"""A run of one process that is under way."""

import pytest

from runs.models import ProcessGroup, Run
from tests.runs.ingest.runner_calls import running
from workspace.models import Team


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    return running(team, "worker-0")


@pytest.fixture
def run(group: ProcessGroup) -> Run:
    assert group.run is not None
    return group.run
