"""Runs and experiments that MLflow's clients search for, in pages."""

from typing import Any

import pytest

from tests.models.mlflow.protocol import MlflowCaller, error_of

pytestmark = pytest.mark.django_db
INVALID = (400, "INVALID_PARAMETER_VALUE")


class Searched:
    """Three runs of one experiment, and one of another."""

    def __init__(self, mlflow: MlflowCaller) -> None:
        self.mlflow = mlflow
        self.experiment = mlflow.experiment("digits")
        other = mlflow.experiment("other")
        self.ids = [
            mlflow.start(experiment_id=experiment, start_time=number, run_name=f"r{number}")
            for number, experiment in enumerate([self.experiment] * 3 + [other], 1)
        ]
        for number, run in enumerate(self.ids):
            mlflow.post("runs/log-metric", run_id=run, key="loss", value=number, timestamp=1)
        self.all = [self.experiment, other]

    def find(self, text: str = "", **given: Any) -> list[int]:
        answer = self.answer(text, **given).json()
        return [self.ids.index(run["info"]["run_id"]) for run in answer["runs"]]

    def answer(self, text: str = "", **given: Any) -> Any:
        fields = {"experiment_ids": self.all, "filter": text, **given}
        return self.mlflow.post("runs/search", **fields)


@pytest.fixture
def searched(mlflow: MlflowCaller) -> Searched:
    return Searched(mlflow)


def test_the_newest_runs_of_the_experiments_come_first(searched: Searched) -> None:
    assert searched.find() == [3, 2, 1, 0]
    assert searched.find(experiment_ids=[searched.experiment]) == [2, 1, 0]
    assert searched.find(experiment_ids=[searched.experiment, "999", "x"]) == [2, 1, 0]
    assert searched.find(experiment_ids=[]) == []
    assert searched.find("metrics.loss >= 1", order_by=["metrics.loss ASC"]) == [1, 2, 3]


def test_deleted_runs_are_found_where_asked_for(searched: Searched) -> None:
    searched.mlflow.post("runs/delete", run_id=searched.ids[1])
    assert searched.find() == [3, 2, 0]
    assert searched.find(run_view_type="DELETED_ONLY") == [1]
    assert searched.find(run_view_type="ALL") == [3, 2, 1, 0]
    assert error_of(searched.answer(run_view_type="SOME")) == INVALID


def test_a_token_belongs_to_its_search(searched: Searched) -> None:
    first = searched.answer(max_results=3).json()
    assert len(first["runs"]) == 3
    token = first["next_page_token"]
    rest = searched.answer(max_results=3, page_token=token).json()
    assert [run["info"]["run_id"] for run in rest["runs"]] == [searched.ids[0]]
    assert "next_page_token" not in rest
    for wrong in (
        searched.answer("metrics.loss > 0", page_token=token),
        searched.answer(page_token="x"),
        searched.answer(max_results=0),
        searched.answer(max_results=50_001),
    ):
        assert error_of(wrong) == INVALID


def test_what_is_wrong_with_a_search_is_told_together(searched: Searched) -> None:
    answer = searched.answer("foo.bar = 'x'", order_by=["metrics.loss DOWN"])
    assert error_of(answer) == INVALID
    assert "Invalid entity type 'foo'" in answer.json()["message"]
    assert "Invalid ordering key in order_by clause" in answer.json()["message"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dataset.name = 'mnist'", [0]),
        ("datasets.digest IN ('d0', 'd1')", [1, 0]),
        ("dataset.context = 'train'", [0]),
        ("dataset.name != 'mnist'", [1]),
        ("dataset.name LIKE 'm%' AND dataset.digest = 'd1'", []),
    ],
)
def test_runs_are_found_by_their_datasets(
    searched: Searched, text: str, expected: list[int]
) -> None:
    for number, (name, context) in enumerate([("mnist", "train"), ("fashion", "eval")]):
        searched.mlflow.post(
            "runs/log-inputs",
            run_id=searched.ids[number],
            datasets=[
                {
                    "dataset": {"name": name, "digest": f"d{number}"},
                    "tags": [{"key": "mlflow.data.context", "value": context}],
                }
            ],
        )
    assert searched.find(text) == expected


def test_the_user_of_a_run_is_found_by_the_tag_that_is_shown(mlflow: MlflowCaller) -> None:
    runs = [
        mlflow.start(tags=[{"key": "mlflow.user", "value": "ada"}]),
        mlflow.start(),
    ]
    for run, user in zip(runs, ("ada", "bob"), strict=True):
        assert mlflow.data(run, "tags")["mlflow.user"] == user
        found = mlflow.post(
            "runs/search", experiment_ids=["0"], filter=f"tags.`mlflow.user` = '{user}'"
        ).json()
        assert [each["info"]["run_id"] for each in found["runs"]] == [run]


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json()
    return [each["name"] for each in answer.json()["experiments"]]


@pytest.mark.parametrize(
    ("text", "order", "expected"),
    [
        ("", [], ["c", "B", "a", "Default"]),
        ("", ["name ASC"], ["B", "Default", "a", "c"]),
        ("name = 'a'", [], ["a"]),
        ("name != 'a' AND attribute.name LIKE '_'", [], ["c", "B"]),
        ("name ILIKE 'b%'", [], ["B"]),
        ("tags.owner = 'ada'", [], ["c"]),
        ("tags.owner IS NULL", ["experiment_id"], ["Default", "a", "B"]),
        ("experiment_id = '0'", [], ["Default"]),
        ("experiment_id IN ('0')", [], ["Default"]),
        ("creation_time > 0", ["last_update_time DESC"], ["c", "Default", "B", "a"]),
        ("last_update_time < 1000", [], []),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_experiments_are_found_and_ordered(
    mlflow: MlflowCaller, text: str, order: list[str], expected: list[str], method: str
) -> None:
    mlflow.get("experiments/get", experiment_id="0")
    made = {name: mlflow.experiment(name) for name in ("a", "B", "c")}
    mlflow.post("experiments/set-experiment-tag", experiment_id=made["c"], key="owner", value="ada")
    call = getattr(mlflow, method)
    found = names(call("experiments/search", filter=text, order_by=order))
    if order[:1] == ["last_update_time DESC"] or not order:
        assert (set(found), found[:1]) == (set(expected), expected[:1])
    else:
        assert found == expected


def test_experiments_come_in_pages_without_the_deleted(mlflow: MlflowCaller) -> None:
    made = [mlflow.experiment(name) for name in ("a", "b", "c")]
    mlflow.post("experiments/delete", experiment_id=made[1])
    first = mlflow.get("experiments/search", max_results=2, order_by=["name"])
    assert names(first) == ["Default", "a"]
    token = first.json()["next_page_token"]
    rest = mlflow.get("experiments/search", max_results=2, order_by=["name"], page_token=token)
    assert names(rest) == ["c"]
    assert names(mlflow.get("experiments/search", view_type="DELETED_ONLY")) == ["b"]
    wrong = mlflow.get("experiments/search", filter="metrics.a > 1")
    assert error_of(wrong) == INVALID
