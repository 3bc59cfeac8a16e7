"""Runs are searched and sorted over REST, page by page."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs import selectors
from runs.models import MetricSeries, Run
from runs.search import run_search
from runs.search.parameters import store_parameters
from tests.factories import bearer, make_run, make_team
from workspace.models import Team

pytestmark = pytest.mark.django_db
RUNS = "/api/v1/teams/default/runs"


class Api:
    def __init__(self, client: Client, user: User) -> None:
        self._client, self._headers = client, bearer(user)

    def get(self, **query: Any) -> Any:
        return self._client.get(RUNS, query, headers=self._headers)

    def numbers(self, **query: Any) -> list[int]:
        return [run["number"] for run in self.get(**query).json()["runs"]]

    def errors(self, **query: Any) -> dict[str, str]:
        answer = self.get(**query)
        assert answer.status_code == 400
        return {error["field"]: error["message"] for error in answer.json()["errors"]}


@pytest.fixture
def api(client: Client, vera: User) -> Api:
    return Api(client, vera)


@pytest.fixture(autouse=True)
def runs(team: Team, bob: User) -> list[Run]:
    made = [make_run(team, bob) for _ in range(5)]
    for run, loss in zip(made, (3.0, 1.0, None, 2.0, 1.5), strict=True):
        store_parameters(run, {"--lr": run.number / 10})
        if loss is not None:
            MetricSeries.objects.create(run=run, name="a:loss", last_step=1, last_value=loss)
    return made


def test_runs_are_filtered_and_ordered(api: Api) -> None:
    assert api.numbers(filter="metrics.`a:loss` < 2.5") == [5, 4, 2]
    assert api.numbers(filter="metrics.`a:loss` < 2.5", order_by="params.lr") == [2, 4, 5]
    assert api.numbers(order_by=["metrics.`a:loss` DESC", "run_id"]) == [1, 4, 5, 2, 3]
    assert api.numbers(sort="metric:a:loss") == [2, 5, 4, 1, 3]
    assert api.numbers(sort="metric:a:loss:desc") == [1, 4, 5, 2, 3]
    assert api.numbers(sort="param:lr:asc", filter="run_id != '1'") == [2, 3, 4, 5]
    assert api.numbers(sort="attribute:created") == [1, 2, 3, 4, 5]
    assert api.numbers(sort="tag:none") == [5, 4, 3, 2, 1]


def test_every_error_names_its_field(api: Api) -> None:
    errors = api.errors(filter="a", order_by=["foo.x", "run_id UP"], sort="x", status="Odd")
    assert errors.keys() == {"filter", "order_by", "sort", "status"}
    assert api.errors(filter="foo.x = 'y'")["filter"].startswith("Invalid entity type 'foo'.")
    assert api.errors(sort="loss")["sort"] == (
        "Use KIND:NAME:asc or KIND:NAME:desc, with a KIND of metric, param, tag, attribute."
    )
    assert api.errors(sort="attribute:loss")["sort"].startswith("Invalid attribute key 'loss'")
    assert api.errors(sort="param:a", order_by="params.a") == {
        "sort": "Leave out either sort or order_by."
    }
    assert api.errors(order_by=["run_id"] * 11) == {"order_by": "Use at most 10."}


def test_pages_of_a_sorted_search_hold_each_run_once(
    api: Api, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (selectors, run_search):
        monkeypatch.setattr(module, "PAGE", 2)
    query = {"sort": "param:lr:desc", "filter": "params.lr IS NOT NULL"}
    found, cursor = [], ""
    for _ in range(3):
        page = api.get(**query, cursor=cursor).json()
        found += [run["number"] for run in page["runs"]]
        cursor = page["next_cursor"]
        store_parameters(make_run(team), {"--lr": 9})
    assert (found, cursor) == ([5, 4, 3, 2, 1], "")


def test_a_cursor_belongs_to_its_search(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_search, "PAGE", 2)
    cursor = api.get(sort="param:lr:desc").json()["next_cursor"]
    for query in ({"sort": "param:lr"}, {"sort": "param:lr:desc", "q": "5"}):
        assert "cursor" in api.errors(**query, cursor=cursor)
    for odd in ("2", "x", "W10=", "bnVsbA==", "[" * 100_000, "\N{LATIN SMALL LETTER E WITH ACUTE}"):
        assert "cursor" in api.errors(sort="param:lr:desc", cursor=odd)


def test_runs_of_another_team_are_not_found(api: Api) -> None:
    store_parameters(make_run(make_team("other")), {"--secret": "x"})
    assert api.numbers(filter="params.secret = 'x'") == []
