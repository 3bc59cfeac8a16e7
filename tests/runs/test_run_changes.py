"""What people say of a run, over REST: its name, description and tags; and archiving it."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.models import Run
from tests.factories import bearer, make_run, make_team
from tests.runs.supervision.supervised_runs import Submit
from workspace.models import AuditEntry, Team
from workspace.tags import MAX_TAGS

pytestmark = pytest.mark.django_db
RUNS = "/api/v1/teams/default/runs"


class Api:
    def __init__(self, client: Client, user: User) -> None:
        self._client, self._headers = client, bearer(user)

    def change(self, run: Run, **change: Any) -> Any:
        return self._client.patch(
            f"{RUNS}/{run.number}", change, content_type="application/json", headers=self._headers
        )

    def numbers(self, **filters: str) -> list[int]:
        answer = self._client.get(RUNS, filters, headers=self._headers)
        return [run["number"] for run in answer.json()["runs"]]


@pytest.fixture
def api(client: Client, bob: User) -> Api:
    return Api(client, bob)


@pytest.fixture
def run(team: Team, bob: User) -> Run:
    return make_run(team, bob)


def test_a_run_is_named_with_its_configuration(submit: Submit) -> None:
    run = submit(name=" wider ", description="Twice the units.", tags={"data": "mnist", "n": 3})
    assert (run.name, run.description) == ("wider", "Twice the units.")
    assert run.tags == {"data": "mnist", "n": "3"}


def test_a_change_keeps_what_it_does_not_name(api: Api, run: Run) -> None:
    api.change(run, name="first", tags={"data": "mnist", "owner": "bob"})
    answer = api.change(run, description="A try.", tags={"owner": None, "epochs": 3})
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["name"], shown["description"]) == ("first", "A try.")
    assert shown["tags"] == {"data": "mnist", "epochs": "3"}
    entry = AuditEntry.objects.filter(action="run.change").latest("pk")
    assert entry.data["tags"] == {"owner": None, "epochs": "3"}


def test_every_error_of_a_change_is_named_and_nothing_is_changed(api: Api, run: Run) -> None:
    answer = api.change(run, name="a\nb", description="x" * 10_001, tags={"": "x"}, state="x")
    assert answer.status_code == 400
    fields = {error["field"] for error in answer.json()["errors"]}
    assert fields == {"name", "description", "tags.", "state"}
    many = api.change(run, name="c", tags={f"tag {n}": "" for n in range(MAX_TAGS)})
    assert many.status_code == 200
    assert api.change(run, name="d", tags={"one more": ""}).status_code == 400
    run.refresh_from_db()
    assert run.name == "c"


def test_an_archived_run_is_listed_where_it_is_asked_for(api: Api, team: Team, bob: User) -> None:
    one, two = make_run(team, bob), make_run(team, bob)
    assert api.change(one, archived=True).json()["archived"]
    assert api.numbers() == [two.number]
    assert api.numbers(archived="true") == [one.number]
    assert api.numbers(archived="any") == [two.number, one.number]
    assert not api.change(one, archived=False).json()["archived"]
    assert api.numbers() == [two.number, one.number]


def test_a_filter_that_is_none_is_named(client: Client, bob: User, team: Team) -> None:
    answer = client.get(RUNS, {"archived": "maybe"}, headers=bearer(bob))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "archived"


@pytest.mark.parametrize(
    "name", ["data", "2024", 'a "quoted" name', "a.b", "größe", "$", "😀", "'"]
)
def test_runs_are_found_by_tags_of_any_name(api: Api, team: Team, bob: User, name: str) -> None:
    one, two, _ = make_run(team, bob), make_run(team, bob), make_run(team, bob)
    api.change(one, tags={name: "mnist"})
    api.change(two, tags={name: 'a "b" ü'})
    assert api.numbers(tag=name) == [two.number, one.number]
    assert api.numbers(tag=f"{name}: mnist") == [one.number]
    assert api.numbers(tag=f'{name}:a "b" ü') == [two.number]
    assert api.numbers(tag=f"{name}:else") == []


def test_runs_are_found_by_their_name(api: Api, run: Run) -> None:
    api.change(run, name="Wider layers")
    assert api.numbers(q="wider") == [run.number]


def test_another_team_changes_nothing(client: Client, run: Run, charlie: User) -> None:
    make_team("others", admin=charlie)
    assert Api(client, charlie).change(run, name="mine").status_code == 404
    run.refresh_from_db()
    assert run.name == ""
