from typing import Any

import pytest

from runs.models import ProcessGroup, Run
from tests.factories import make_token
from tests.runs.ingest.runner_calls import Runner, process_of, running
from workspace.models import Team


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    return running(team, "worker-0", "worker-1")


@pytest.fixture
def run(group: ProcessGroup) -> Run:
    return Run.objects.select_related("team").get(attempts=group)


@pytest.fixture
def token(vera: Any) -> str:
    return make_token(vera)


@pytest.fixture
def runner(group: ProcessGroup) -> Runner:
    return Runner(process_of(group))
