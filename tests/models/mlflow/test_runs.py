"""Runs that MLflow's clients start, log to, end, delete and restore."""

import math
from typing import Any

import pytest
from django.contrib.auth.models import User

from runs.metrics import store
from runs.metrics.points import Point
from runs.models import DatasetInput, MetricSeries, Run
from runs.states import RunStatus
from tests.factories import make_run
from tests.models.mlflow.protocol import MlflowCaller, error_of
from workspace.models import Team

pytestmark = pytest.mark.django_db
INVALID = (400, "INVALID_PARAMETER_VALUE")
MISSING = (404, "RESOURCE_DOES_NOT_EXIST")


def tag(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value}


def metric(key: str, value: Any, step: int = 0, timestamp: int = 1000) -> dict[str, Any]:
    return {"key": key, "value": value, "timestamp": timestamp, "step": step}


def test_a_started_run_is_a_tracked_run_of_the_team(
    mlflow: MlflowCaller, team: Team, bob: User
) -> None:
    experiment = mlflow.experiment("digits")
    parent = mlflow.start(experiment_id=experiment)
    run = mlflow.start(
        experiment_id=experiment,
        run_name="wide",
        start_time=1_700_000_000_000,
        tags=[
            tag("mlflow.user", "ada"),
            tag("mlflow.source.name", "train.py"),
            tag("mlflow.note.content", "By hand."),
            tag("mlflow.parentRunId", parent),
            tag("data", "mnist"),
        ],
    )
    found = mlflow.run(run)
    assert found["info"] == {
        "run_id": run,
        "run_uuid": run,
        "experiment_id": experiment,
        "run_name": "wide",
        "user_id": "bob",
        "status": "RUNNING",
        "start_time": 1_700_000_000_000,
        "artifact_uri": f"mlflow-artifacts:/{experiment}/{run}/artifacts",
        "lifecycle_stage": "active",
    }
    assert mlflow.data(run, "tags") == {
        "mlflow.user": "ada",
        "mlflow.source.name": "train.py",
        "mlflow.note.content": "By hand.",
        "mlflow.parentRunId": parent,
        "mlflow.runName": "wide",
        "data": "mnist",
    }
    row = Run.objects.get(team=team, number=int(run))
    assert row.is_tracked
    assert (row.name, row.description, row.created_by) == ("wide", "By hand.", bob)
    assert row.parent is not None
    assert str(row.parent.number) == parent
    assert row.listed_tags == {"data": "mnist"}


def test_a_run_without_a_name_or_an_experiment_gets_both(mlflow: MlflowCaller) -> None:
    found = mlflow.run(mlflow.start())
    assert found["info"]["experiment_id"] == "0"
    assert found["info"]["run_name"]
    assert tag("mlflow.runName", found["info"]["run_name"]) in found["data"]["tags"]


def test_the_name_of_a_run_is_its_tag_too(mlflow: MlflowCaller) -> None:
    run = mlflow.start(tags=[tag("mlflow.runName", "first")])
    assert mlflow.run(run)["info"]["run_name"] == "first"
    mlflow.post("runs/update", run_id=run, run_name="second")
    assert mlflow.data(run, "tags")["mlflow.runName"] == "second"
    mlflow.post("runs/set-tag", run_id=run, key="mlflow.runName", value="third")
    assert mlflow.run(run)["info"]["run_name"] == "third"


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        ("FINISHED", RunStatus.COMPLETED),
        ("FAILED", RunStatus.FAILED),
        ("KILLED", RunStatus.CANCELED),
    ],
)
def test_a_run_ends_once(mlflow: MlflowCaller, status: str, ours: RunStatus) -> None:
    run = mlflow.start()
    ended = {"run_id": run, "status": status, "end_time": 1_800_000_000_000}
    info = mlflow.post("runs/update", **ended).json()["run_info"]
    assert (info["status"], info["end_time"]) == (status, 1_800_000_000_000)
    assert Run.objects.get(number=int(run)).status == ours
    for other in ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"):
        answer = mlflow.post("runs/update", run_id=run, status=other)
        assert answer.json()["run_info"]["status"] == status


def test_the_processes_of_a_run_decide_its_status(
    mlflow: MlflowCaller, team: Team, bob: User
) -> None:
    run = make_run(team, bob, RunStatus.RUNNING)
    answer = mlflow.post("runs/update", run_id=str(run.number), status="FINISHED", run_name="new")
    assert answer.json()["run_info"]["status"] == "RUNNING"
    assert answer.json()["run_info"]["run_name"] == "new"


def test_a_deleted_run_takes_nothing_more_until_it_is_restored(mlflow: MlflowCaller) -> None:
    run = mlflow.start()
    assert mlflow.post("runs/delete", run_id=run).json() == {}
    assert mlflow.run(run)["info"]["lifecycle_stage"] == "deleted"
    one = {"run_id": run, "key": "a", "value": "1"}
    for path in ("log-parameter", "log-metric", "set-tag", "update"):
        answer = mlflow.post(f"runs/{path}", **one)
        assert error_of(answer) == INVALID
        assert answer.json()["message"] == (
            f"The run {run} must be in the 'active' state. Current state is deleted."
        )
    assert mlflow.post("runs/restore", run_id=run).json() == {}
    assert mlflow.post("runs/log-parameter", **one).json() == {}


def test_a_parameter_keeps_its_first_value(mlflow: MlflowCaller) -> None:
    run = mlflow.start()
    for _ in range(2):
        assert mlflow.post("runs/log-parameter", run_id=run, key="lr", value="0.1").json() == {}
    answer = mlflow.post("runs/log-parameter", run_id=run, key="lr", value="0.2")
    assert error_of(answer) == INVALID
    assert answer.json()["message"] == (
        "Changing param values is not allowed. Param with key='lr' was already logged with"
        f" value='0.1' for run ID='{run}'. Attempted logging new value '0.2'."
    )
    assert mlflow.data(run, "params") == {"lr": "0.1"}


def test_a_batch_is_stored_whole_or_not_at_all(mlflow: MlflowCaller) -> None:
    run = mlflow.start(run_name="r")
    good = {
        "metrics": [metric("loss", 0.5), metric("nan", "NaN"), metric("up", "Infinity")],
        "params": [tag("lr", "0.1"), tag("empty", "")],
        "tags": [tag("data", "mnist"), tag("a/b c:d", "x")],
    }
    assert mlflow.post("runs/log-batch", run_id=run, **good).json() == {}
    assert mlflow.data(run, "metrics") == {"loss": 0.5, "nan": "NaN", "up": "Infinity"}
    assert mlflow.data(run, "params") == {"lr": "0.1", "empty": ""}
    before = mlflow.run(run)
    answer = mlflow.post(
        "runs/log-batch",
        run_id=run,
        metrics=[metric("other", 1)],
        params=[tag("new", "1"), tag("lr", "0.2")],
        tags=[tag("other", "1")],
    )
    assert error_of(answer) == INVALID
    assert mlflow.run(run) == before


@pytest.mark.parametrize(
    ("batch", "named"),
    [
        ({"metrics": [metric("m", 1, n) for n in range(1001)]}, "metrics"),
        ({"params": [tag(f"p{n}", "1") for n in range(101)]}, "params"),
        ({"tags": [tag(f"t{n}", "1") for n in range(101)]}, "tags"),
        (
            {"metrics": [metric("m", 1, n) for n in range(1000)], "params": [tag("p", "1")]},
            "together",
        ),
        ({"params": [tag("p", "1"), tag("p", "1")]}, "['p']"),
        ({"params": [tag("p", "x" * 6001)]}, "params[0].value"),
        ({"tags": [tag("t", "x" * 8001)]}, "tags[0].value"),
        ({"ignored": "x" * 1_000_000}, "1,000,000 bytes"),
        ({"metrics": [metric("m", None)]}, "metrics[0].value"),
        ({"metrics": [metric("m", 1, 2**63)]}, "metrics[0].step"),
        ({"metrics": [metric("m", 10**400)]}, "metrics[0].value"),
    ],
)
def test_a_batch_beyond_a_limit_names_it(
    mlflow: MlflowCaller, batch: dict[str, Any], named: str
) -> None:
    answer = mlflow.post("runs/log-batch", run_id=mlflow.start(), **batch)
    assert error_of(answer) == INVALID
    assert named in answer.json()["message"]


def test_a_hundred_tags_of_a_batch_are_kept(mlflow: MlflowCaller) -> None:
    run = mlflow.start()
    tags = {f"t{n}": "x" for n in range(100)}
    batch = [tag(key, value) for key, value in tags.items()]
    assert mlflow.post("runs/log-batch", run_id=run, tags=batch).json() == {}
    assert tags.items() <= mlflow.data(run, "tags").items()


def test_a_tag_is_changed_and_deleted(mlflow: MlflowCaller) -> None:
    run = mlflow.start()
    for value in ("1", "2"):
        mlflow.post("runs/set-tag", run_id=run, key="a", value=value)
    assert mlflow.data(run, "tags")["a"] == "2"
    assert mlflow.post("runs/delete-tag", run_id=run, key="a").json() == {}
    answer = mlflow.post("runs/delete-tag", run_id=run, key="a")
    assert error_of(answer) == MISSING
    assert answer.json()["message"] == f"No tag with name: a in run with id {run}"


def test_a_run_cannot_be_above_itself(mlflow: MlflowCaller) -> None:
    top = mlflow.start()
    child = mlflow.start(tags=[tag("mlflow.parentRunId", top)])
    for parent in (top, child, "999", "x"):
        answer = mlflow.post("runs/set-tag", run_id=top, key="mlflow.parentRunId", value=parent)
        assert error_of(answer) == INVALID


def test_the_history_of_a_metric_comes_in_pages_without_repeats(mlflow: MlflowCaller) -> None:
    run = mlflow.start()
    points = [metric("loss", n / 10, n - 5, 1000 + n) for n in range(10)]
    for _ in range(2):
        mlflow.post("runs/log-batch", run_id=run, metrics=points)
    first = mlflow.get("metrics/get-history", run_id=run, metric_key="loss", max_results=6).json()
    rest = mlflow.get(
        "metrics/get-history",
        run_id=run,
        metric_key="loss",
        max_results=6,
        page_token=first["next_page_token"],
    ).json()
    assert first["metrics"] + rest["metrics"] == points
    assert "next_page_token" not in rest
    assert mlflow.run(run)["data"]["metrics"] == [points[-1]]
    foreign = mlflow.get(
        "metrics/get-history", run_id=run, metric_key="x", page_token=first["next_page_token"]
    )
    assert error_of(foreign) == INVALID


def test_a_name_that_event_files_have_too_is_shown_once(
    mlflow: MlflowCaller, team: Team, bob: User
) -> None:
    run = make_run(team, bob, RunStatus.RUNNING)
    for process, value in (("worker-0", 1.0), ("worker-1", 2.0)):
        series = MetricSeries.objects.create(run=run, process=process, name="loss")
        store.append({series.pk: [Point(1, 0, value)]})
    run_id = str(run.number)
    assert mlflow.data(run_id, "metrics") == {"loss": 1.0}
    mlflow.post("runs/log-metric", run_id=run_id, **metric("loss", 3.0))
    assert mlflow.data(run_id, "metrics") == {"loss": 3.0}
    history = mlflow.get("metrics/get-history", run_id=run_id, metric_key="loss").json()
    assert [point["value"] for point in history["metrics"]] == [3.0]


def test_the_last_value_is_that_of_the_greatest_step(mlflow: MlflowCaller) -> None:
    run = mlflow.start()
    for step, at, value in ((2, 5, 1.0), (2, 9, math.pi), (1, 99, 7.0)):
        mlflow.post("runs/log-metric", run_id=run, **metric("m", value, step, at))
    assert mlflow.run(run)["data"]["metrics"] == [metric("m", math.pi, 2, 9)]


def test_datasets_are_noted_once(mlflow: MlflowCaller) -> None:
    run = mlflow.start()
    dataset = {
        "name": "mnist",
        "digest": "abc",
        "source_type": "local",
        "source": "{}",
        "schema": "{}",
        "profile": "{}",
    }
    context = [tag("mlflow.data.context", "train")]
    for _ in range(2):
        call = mlflow.post(
            "runs/log-inputs", run_id=run, datasets=[{"dataset": dataset, "tags": context}]
        )
        assert call.json() == {}
    assert mlflow.run(run)["inputs"] == {"dataset_inputs": [{"dataset": dataset, "tags": context}]}
    assert DatasetInput.objects.count() == 1


def test_models_of_the_older_client_are_a_list_in_a_tag(mlflow: MlflowCaller) -> None:
    run = mlflow.start()
    for name in ("first", "second"):
        call = mlflow.post("runs/log-model", run_id=run, model_json=f'{{"name": "{name}"}}')
        assert call.json() == {}
    assert mlflow.data(run, "tags")["mlflow.log-model.history"] == (
        '[{"name": "first"}, {"name": "second"}]'
    )
    assert error_of(mlflow.post("runs/log-model", run_id=run, model_json="{")) == INVALID


def test_lists_show_the_tags_of_people_and_the_configuration_all(
    mlflow: MlflowCaller, bob: User
) -> None:
    run = mlflow.start(tags=[tag("mlflow.source.name", "train.py"), tag("data", "mnist")])
    mlflow.client.force_login(bob)
    page = mlflow.client.get("/t/default/runs/").text
    assert "mnist" in page
    assert "mlflow.source.name" not in page
    assert "mlflow.source.name" in mlflow.client.get(f"/t/default/runs/{run}/configuration/").text


@pytest.mark.parametrize("run", ["9", "x", "0123456789abcdef0123456789abcdef", "-1"])
def test_a_run_that_is_not_there_is_not_found(mlflow: MlflowCaller, run: str) -> None:
    assert error_of(mlflow.get("runs/get", run_id=run)) == MISSING
