"""What happens on a target, over REST: who holds what, and what was used."""

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from runs.scheduling.target_usage import usage_by_day
from runs.states import RunStatus
from tests.factories import bearer, make_group, make_run, make_target, make_team
from workspace.models import Team

LOCAL = "/api/v1/teams/default/targets/local"


def test_holders_are_told_and_other_teams_are_no_more_than_named(
    client: Client, alice: User, charlie: User, team: Team
) -> None:
    target = make_target(team)
    ours = make_run(team, alice, RunStatus.RUNNING, target=target)
    group = make_group(ours, "worker-0", "worker-1")
    group.processes.update(cpus=1.5, gpus=["GPU-0"], node="here")
    theirs = make_run(make_team("others"), charlie, RunStatus.RUNNING, target=target)
    make_group(theirs)
    first, second = client.get(f"{LOCAL}/holders", headers=bearer(alice)).json()
    assert (first["team"], first["run"], first["user"]) == ("default", ours.number, "alice")
    assert (first["node"], first["processes"], first["cpus"]) == ("here", 2, 3.0)
    assert first["gpus"] == ["GPU-0", "GPU-0"]
    assert (second["team"], second["run"], second["user"]) == ("others", None, "")


def test_what_ended_holds_nothing(client: Client, alice: User, team: Team) -> None:
    run = make_run(team, alice, RunStatus.COMPLETED, target=make_target(team))
    group = make_group(run)
    group.removed_at = timezone.now()
    group.save()
    assert client.get(f"{LOCAL}/holders", headers=bearer(alice)).json() == []


@pytest.mark.parametrize("days", [0, 367])
def test_the_days_of_use_have_bounds(client: Client, alice: User, team: Team, days: int) -> None:
    make_target(team)
    assert client.get(f"{LOCAL}/use?days={days}", headers=bearer(alice)).status_code == 400
    assert len(client.get(f"{LOCAL}/use?days=3", headers=bearer(alice)).json()) == 3


def test_use_is_counted_on_the_days_on_which_it_was(team: Team) -> None:
    zone = timezone.get_current_timezone()
    now = datetime(2026, 3, 10, 12, tzinfo=zone)
    target = make_target(team)
    over_midnight = make_group(make_run(team, target=target)).processes.get()
    over_midnight.started_at = datetime(2026, 3, 8, 22, tzinfo=zone)
    over_midnight.exited_at = datetime(2026, 3, 9, 3, tzinfo=zone)
    over_midnight.cpus, over_midnight.gpus = 4, ["a", "b"]
    over_midnight.save()
    still_running = make_group(make_run(team, target=target)).processes.get()
    still_running.started_at = now - timedelta(hours=1)
    still_running.save()
    long_ago = make_group(make_run(team, target=target)).processes.get()
    long_ago.started_at = now - timedelta(days=9)
    long_ago.exited_at = now - timedelta(days=8)
    long_ago.save()
    today, yesterday, before = usage_by_day(target, now, days=3)
    assert [today.process_hours, yesterday.process_hours, before.process_hours] == [1, 3, 2]
    assert [today.gpu_hours, yesterday.gpu_hours, before.gpu_hours] == [0, 6, 4]
    assert [today.cpu_hours, yesterday.cpu_hours, before.cpu_hours] == [0, 12, 8]
    assert [len(day.runs) for day in (today, yesterday, before)] == [1, 1, 1]
