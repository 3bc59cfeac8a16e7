"""Reports B7 and B14: what a run that does nothing says of itself, and when."""

import os
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from runs.logs.log_file import log_of
from runs.models import Process, ProcessGroup, Run, UsageSample
from runs.states import ProcessState, RunStatus
from runs.supervision.hang_detection import HangDetector
from tests.factories import bearer, make_group, make_run
from workspace.models import ComputeTarget, Team

pytestmark = pytest.mark.django_db
PREFIX = "2026-11-30 12:03:{:02d}.123456: I tensorflow/core/distributed_runtime/master.cc:266] "
WAITS = "CreateSession still waiting for response from worker: /job:worker/replica:0/task:1\n"
LONG_AGO = timedelta(minutes=10)


@pytest.fixture
def run(team: Team, bob: User) -> Run:
    """Return a run that has printed nothing and used no CPU for ten minutes."""
    started = timezone.now() - 2 * LONG_AGO
    run = make_run(team, bob, RunStatus.RUNNING, running_at=started)
    group = make_group(run, "worker-0", "worker-1", "worker-2")
    ProcessGroup.objects.update(created_at=started)
    Process.objects.update(started_at=started, heartbeat_at=timezone.now())
    for process in group.processes.all():
        UsageSample.objects.bulk_create(
            UsageSample(
                process=process,
                at=timezone.now() - timedelta(seconds=5 * number),
                cpus=0.001,
                memory_bytes=1,
            )
            for number in range(200)
        )
    return run


def prints(run: Run, process: str, text: str, ago: timedelta = timedelta(0)) -> None:
    log = log_of(run.attempts.get().label, process)
    log.append(log.size(), text.encode())
    at = (timezone.now() - ago).timestamp()
    os.utime(log.path, (at, at))


def told(client: Client, run: Run, by: User) -> dict[str, Any]:
    answer = client.get(f"/api/v1/teams/default/runs/{run.number}", headers=bearer(by))
    found: dict[str, Any] = answer.json()
    return found


def shown(client: Client, run: Run, by: User) -> str:
    client.force_login(by)
    return client.get(f"/t/default/runs/{run.number}/idle/").content.decode()


def looks(run: Run, *, timeout: int = 60, fails: bool = False) -> Any:
    """Have the supervisor look whether a run makes progress."""
    ComputeTarget.objects.update(hang_timeout_seconds=timeout, fail_hung_runs=fails)
    run = Run.objects.select_related("target").get(pk=run.pk)
    return HangDetector().check(run, run.attempts.get())


def worker_1_is_done(run: Run) -> None:
    Process.objects.filter(index=1).update(
        state=ProcessState.EXITED, exit_code=0, exited_at=timezone.now() - LONG_AGO
    )


def wait_in_vain(run: Run) -> None:
    """Print what a session of worker 2 prints while it waits for worker 1."""
    prints(run, "worker-2", "starting\n" + PREFIX.format(0) + WAITS, LONG_AGO)
    looks(run, timeout=6000)
    for second in range(10, 60, 10):
        prints(run, "worker-2", PREFIX.format(second) + WAITS)
        looks(run, timeout=6000)


def test_b7_a_process_that_waits_for_one_that_ended_is_named_with_the_way_out(
    client: Client, run: Run, bob: User
) -> None:
    worker_1_is_done(run)
    wait_in_vain(run)
    UsageSample.objects.filter(process__index=0).update(cpus=0.5)
    (idle,) = told(client, run, bob)["idle_processes"]
    assert idle["waits_for"].startswith("worker-2 waits for worker-1, which ended at 20")
    assert idle["waits_for"].endswith("UTC with exit code 0.")
    page = shown(client, run, bob)
    assert idle["waits_for"] in page
    assert "device_filters" in page
    assert "All processes are idle" not in page


def test_b7_the_lines_of_a_session_that_waits_are_no_progress(run: Run) -> None:
    worker_1_is_done(run)
    wait_in_vain(run)
    verdict = looks(run, fails=True)
    run.refresh_from_db()
    assert run.hung_since is not None
    assert verdict.reason == "no_progress"
    assert verdict.process == "worker-2"
    assert "worker-2 waits for worker-1" in verdict.message
    assert "device_filters" in verdict.message


def test_b7_the_same_words_with_new_numbers_are_progress(run: Run) -> None:
    for step in range(3):
        prints(run, "worker-0", f"{PREFIX.format(step)}step {step}\n", ago=timedelta())
        assert looks(run, fails=True) is None
    run.refresh_from_db()
    assert run.hung_since is None


def test_b7_a_wait_that_came_to_its_end_is_not_told_of(client: Client, run: Run, bob: User) -> None:
    worker_1_is_done(run)
    wait_in_vain(run)
    prints(run, "worker-2", "step 1\n")
    looks(run)
    assert told(client, run, bob)["idle_processes"] == []


def test_b7_a_wait_for_a_process_that_is_alive_is_not_told_of(
    client: Client, run: Run, bob: User
) -> None:
    wait_in_vain(run)
    UsageSample.objects.filter(process__index=0).update(cpus=0.5)
    assert told(client, run, bob)["idle_processes"] == []


def test_b14_a_run_whose_processes_are_idle_says_facts_within_minutes(
    client: Client, run: Run, bob: User
) -> None:
    prints(run, "worker-0", "step 9\nall is <done>\n", LONG_AGO)
    page, found = shown(client, run, bob), told(client, run, bob)
    assert found["hung_since"] is None
    by_name = {process["name"]: process for process in found["idle_processes"]}
    assert list(by_name) == ["worker-0", "worker-1", "worker-2"]
    assert by_name["worker-0"]["last_line"] == "all is <done>"
    assert by_name["worker-0"]["last_output_at"] == by_name["worker-0"]["idle_since"]
    assert by_name["worker-0"]["last_file_at"] is None
    assert by_name["worker-1"]["last_output_at"] is None
    assert round(by_name["worker-1"]["cores"], 2) == 0
    assert found["last_lines"]["worker-0"] == "all is <done>"
    assert "Nothing new printed since" in page
    assert "all is &lt;done&gt;" in page
    assert "no file written, 0 % of a core used since then" in page
    assert "a thread that is not a daemon" in page


@pytest.mark.parametrize("sign", ["prints", "computes", "is silent"])
def test_b14_one_process_that_does_something_or_is_not_heard_from_keeps_all_quiet(
    client: Client, run: Run, bob: User, sign: str
) -> None:
    prints(run, "worker-0", "step 9\n", timedelta() if sign == "prints" else LONG_AGO)
    if sign == "computes":
        UsageSample.objects.filter(process__index=1).update(cpus=0.5)
    if sign == "is silent":
        Process.objects.filter(index=1).update(heartbeat_at=timezone.now() - LONG_AGO)
    assert told(client, run, bob)["idle_processes"] == []
    assert "All processes are idle" not in shown(client, run, bob)


def test_b14_the_page_of_a_run_asks_again_while_it_runs(
    client: Client, run: Run, bob: User
) -> None:
    client.force_login(bob)
    address = f"/t/default/runs/{run.number}/"
    assert f'hx-get="{address}idle/"' in client.get(address).content.decode()
    Run.objects.update(status=RunStatus.COMPLETED)
    assert f'hx-get="{address}idle/"' not in client.get(address).content.decode()
