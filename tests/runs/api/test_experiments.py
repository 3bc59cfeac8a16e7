"""Experiments over REST: the list, one by its name, and its description."""

from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from runs.experiments import EXPERIMENTS_ON_A_PAGE
from tests.factories import bearer, make_run, make_team
from workspace.models import Experiment, Scope, Team

pytestmark = pytest.mark.django_db
EXPERIMENTS = "/api/v1/teams/default/experiments"


def change(client: Client, user: User, name: str, body: Any, scope: Scope = Scope.ADMIN) -> Any:
    return client.patch(
        f"{EXPERIMENTS}/{quote(name, safe='')}",
        body,
        content_type="application/json",
        headers=bearer(user, scope),
    )


def test_the_list_counts_runs_and_names_the_latest(client: Client, team: Team, bob: User) -> None:
    make_run(team, bob)
    make_run(team, bob)
    make_run(team, bob, archived_at=timezone.now())
    Experiment.objects.create(team=team, name="empty")
    answer = client.get(EXPERIMENTS, headers=bearer(bob)).json()
    empty, digits = answer["experiments"]
    assert (empty["name"], empty["run_count"], empty["latest_run"]) == ("empty", 0, None)
    assert (digits["name"], digits["run_count"], digits["latest_run"]) == ("digits", 2, 2)
    assert answer["next_cursor"] == ""
    client.force_login(bob)
    assert client.get(digits["url"]).status_code == 200


def test_the_list_has_pages(client: Client, team: Team, bob: User) -> None:
    for number in range(EXPERIMENTS_ON_A_PAGE + 1):
        Experiment.objects.create(team=team, name=f"number {number}")
    first = client.get(EXPERIMENTS, headers=bearer(bob)).json()
    rest = client.get(EXPERIMENTS, {"cursor": first["next_cursor"]}, headers=bearer(bob)).json()
    assert len(first["experiments"]) == EXPERIMENTS_ON_A_PAGE
    assert [one["name"] for one in rest["experiments"]] == ["number 0"]
    refused = client.get(f"{EXPERIMENTS}?cursor=x", headers=bearer(bob))
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize("name", ["digits", "a/b", "/", "50%", "..", "a?b#c&d", "é ü", "x/change"])
def test_any_name_is_found_percent_encoded(
    client: Client, team: Team, bob: User, name: str
) -> None:
    Experiment.objects.create(team=team, name=name)
    found = client.get(f"{EXPERIMENTS}/{quote(name, safe='')}", headers=bearer(bob))
    assert found.json()["name"] == name
    changed = change(client, bob, name, {"description": " What units do. "})
    assert changed.json()["description"] == "What units do."
    assert Experiment.objects.get(name=name).description == "What units do."


def test_what_is_wrong_with_a_change_is_named(client: Client, team: Team, bob: User) -> None:
    Experiment.objects.create(team=team, name="digits", description="As it was.")
    refused = change(client, bob, "digits", {"description": "x" * 10_001, "name": "other"})
    assert refused.status_code == 400
    assert {error["field"] for error in refused.json()["errors"]} == {"description", "name"}
    assert change(client, bob, "digits", {}).json()["description"] == "As it was."


def test_viewers_read_and_others_find_nothing(
    client: Client, team: Team, vera: User, charlie: User
) -> None:
    make_team("others", admin=charlie)
    Experiment.objects.create(team=team, name="digits")
    assert client.get(f"{EXPERIMENTS}/digits", headers=bearer(vera)).status_code == 200
    assert change(client, vera, "digits", {"description": "x"}).status_code == 403
    assert client.get(EXPERIMENTS, headers=bearer(charlie)).status_code == 404
    elsewhere = "/api/v1/teams/others/experiments/digits"
    assert client.get(elsewhere, headers=bearer(charlie)).status_code == 404
    assert client.get(f"{EXPERIMENTS}/a%00b", headers=bearer(vera)).status_code == 404
