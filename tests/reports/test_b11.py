"""Report B11: progress bars that redraw several lines are shown as a terminal shows them."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.logs.log_file import log_of
from runs.models import ProcessGroup, Run
from tests.factories import bearer
from tests.runs.ingest.runner_calls import running
from tests.runs.logs.bars import rich_bars, tqdm_bars
from workspace.models import Team

pytestmark = pytest.mark.django_db
WRITTEN = tqdm_bars() + rich_bars()


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    return running(team, "worker-0", "worker-1")


@pytest.fixture
def get(client: Client, group: ProcessGroup, bob: User) -> Any:
    """Write both kinds of bars as a runner sends them; return what answers of the run's logs."""
    log = log_of(group.label, "worker-0")
    for start in range(0, len(WRITTEN), 1000):
        log.append(start, WRITTEN[start : start + 1000])
    run = Run.objects.get(attempts=group)
    address = f"/api/v1/teams/default/runs/{run.number}/logs/"
    return lambda path: client.get(address + path, headers=bearer(bob))


def test_b11_each_bar_is_one_line_with_its_last_state(get: Any) -> None:
    assert WRITTEN.count(b"\n") > 1000
    found = get("worker-0/lines?first=0&count=500").json()
    assert found["total"] == len(found["lines"]) == 11
    assert found["complete"]
    assert [line[:12] for line in found["lines"][:4]] == [f"epoch {n} is o" for n in range(4)]
    assert found["lines"][4].startswith("outer: 100%|██████████| 4/4")
    assert found["lines"][-2].endswith("\x1b[35m100%\x1b[0m \x1b[36m0:00:00\x1b[0m")


def test_b11_a_search_finds_last_states_at_the_lines_that_are_shown(get: Any) -> None:
    (found,) = get("worker-0/search?q=inner").json()["matches"]
    number = found["line"]
    (line,) = get(f"worker-0/lines?first={number}&count=1").json()["lines"]
    assert line == found["text"]
    assert line.startswith("inner \x1b[91m━")


def test_b11_the_download_is_what_the_program_wrote(get: Any) -> None:
    answer = get("worker-0")
    assert answer.content == WRITTEN


def test_b11_the_merged_log_has_no_line_for_every_drawing(get: Any) -> None:
    found = get("merged/lines?first=0&count=5000").json()
    assert found["total"] == len(found["lines"]) < 20
