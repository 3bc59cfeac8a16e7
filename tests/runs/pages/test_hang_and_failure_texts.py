"""What a run's page says of silence, stillness, known causes and earlier attempts."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from runs.logs.log_file import log_of
from runs.models import Run
from runs.states import RunStatus
from tests.factories import bearer, make_group, make_run
from workspace.models import ComputeTarget, Team

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(team: Team, bob: User, client: Client) -> Run:
    run = make_run(team, bob, RunStatus.RUNNING)
    client.force_login(bob)
    return run


def shown(client: Client, run: Run, query: str = "") -> str:
    answer = client.get(f"/t/default/runs/{run.number}/{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def told(client: Client, run: Run, by: User) -> dict[str, Any]:
    answer = client.get(f"/api/v1/teams/default/runs/{run.number}", headers=bearer(by))
    told: dict[str, Any] = answer.json()
    return told


def test_a_run_whose_target_is_silent_says_since_when_and_why(client: Client, run: Run, bob: User):
    since = timezone.now() - timedelta(minutes=3)
    Run.objects.update(target_unreachable_since=since)
    ComputeTarget.objects.update(unreachable_since=since, unreachable_reason="No route to host.")
    page = shown(client, run)
    assert "Unreachable since" in page
    assert "local is unreachable: No route to host." in page
    assert told(client, run, bob)["target_unreachable_since"] is not None
    assert told(client, run, bob)["status"] == "Running", "the words of the contract stay"


def test_a_run_that_is_still_shows_the_last_line_of_each_process(
    client: Client, run: Run, bob: User
):
    group = make_group(run, "worker-0", "worker-1")
    log_of(group.label, "worker-0").append(0, b"step 1\nwaiting for <worker-1>\n")
    Run.objects.update(hung_since=timezone.now())
    page = shown(client, run)
    assert "No progress since" in page
    assert "waiting for &lt;worker-1&gt;" in page
    assert "nothing printed" in page
    assert told(client, run, bob)["last_lines"] == {
        "worker-0": "waiting for <worker-1>",
        "worker-1": "",
    }
    Run.objects.update(status=RunStatus.FAILED)
    assert "No progress since" not in shown(client, run)


def test_a_known_cause_stands_beside_the_failure(client: Client, run: Run):
    Run.objects.update(
        status=RunStatus.FAILED,
        end_reason="process_failed",
        end_detail={
            "message": "worker-0 ended with exit code 1.",
            "process": "worker-0",
            "exit_code": 1,
            "lines": [],
            "hint": {"title": "The program imports sklearn, which.", "remedy": "Add the package."},
        },
    )
    page = shown(client, run)
    assert "The program imports sklearn, which." in page
    assert "Add the package." in page


def test_the_logs_of_earlier_attempts_stay_readable(client: Client, run: Run, bob: User):
    for attempt in (1, 2):
        group = make_group(run, "worker-0", "worker-1")
        log_of(group.label, "worker-0").append(0, f"attempt {attempt}\n".encode())
    latest = shown(client, run)
    assert 'data-log-source="worker-0"' in latest
    assert "?attempt=1" in latest
    former = shown(client, run, "?attempt=1")
    assert 'data-log-selected="attempt-1-worker-0"' in former
    assert 'data-log-source="attempt-1-worker-1"' in former
    assert 'data-log-source="worker-0"' not in former
    for nonsense in ("0", "2", "7", "-1", "x", "1e3", "9" * 50):
        assert 'data-log-source="worker-0"' in shown(client, run, f"?attempt={nonsense}")
    base = f"/api/v1/teams/default/runs/{run.number}/logs"
    for name, text in {"attempt-1-worker-0": b"attempt 1\n", "worker-0": b"attempt 2\n"}.items():
        assert client.get(f"{base}/{name}", headers=bearer(bob)).content == text


def test_a_run_of_one_attempt_offers_no_choice_of_attempts(client: Client, run: Run):
    make_group(run)
    assert 'aria-label="Attempts"' not in shown(client, run)


def test_the_list_of_runs_shows_which_are_in_trouble(client: Client, run: Run):
    Run.objects.update(target_unreachable_since=timezone.now(), hung_since=timezone.now())
    listed = client.get("/t/default/runs/").content.decode()
    assert "unreachable" in listed
    assert "no progress" in listed


def test_a_run_on_its_way_back_to_the_queue_says_so(client: Client, run: Run):
    Run.objects.update(requeue_reason="preempted")
    assert "preempting" in shown(client, run)
    Run.objects.update(requeue_reason="restart", restarts=1)
    assert "restarting" in shown(client, run)
