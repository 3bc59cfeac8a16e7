"""Experiments of a team, as MLflow's clients make, find, rename, delete and restore them."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.factories import bearer, make_run
from tests.models.mlflow.protocol import MlflowCaller, error_of
from workspace.models import Experiment, Team

pytestmark = pytest.mark.django_db
TAKEN = (400, "RESOURCE_ALREADY_EXISTS")
INVALID = (400, "INVALID_PARAMETER_VALUE")
MISSING = (404, "RESOURCE_DOES_NOT_EXIST")


def test_set_experiment_makes_one_that_is_not_there(mlflow: MlflowCaller) -> None:
    answer = mlflow.get("experiments/get-by-name", experiment_name="digits")
    assert error_of(answer) == MISSING
    assert answer.json()["message"] == "Could not find experiment with name 'digits'"
    made = mlflow.post(
        "experiments/create", name="digits", tags=[{"key": "owner", "value": "ada"}]
    ).json()["experiment_id"]
    found = mlflow.get("experiments/get", experiment_id=made).json()["experiment"]
    assert found["name"] == "digits"
    assert found["lifecycle_stage"] == "active"
    assert found["tags"] == [{"key": "owner", "value": "ada"}]
    assert found["artifact_location"] == f"mlflow-artifacts:/{made}"
    by_name = mlflow.get("experiments/get-by-name", experiment_name="digits").json()["experiment"]
    assert by_name == found
    assert error_of(mlflow.post("experiments/create", name="digits")) == TAKEN


def test_default_has_the_id_0_and_stays(mlflow: MlflowCaller, team: Team) -> None:
    assert (
        mlflow.get("experiments/get", experiment_id="0").json()["experiment"]["name"] == "Default"
    )
    by_name = mlflow.get("experiments/get-by-name", experiment_name="Default").json()["experiment"]
    assert by_name["experiment_id"] == "0"
    for call in (
        mlflow.post("experiments/delete", experiment_id="0"),
        mlflow.post("experiments/update", experiment_id="0", new_name="other"),
    ):
        assert error_of(call) == INVALID
    other = mlflow.experiment("other")
    assert (
        error_of(mlflow.post("experiments/update", experiment_id=other, new_name="Default"))
        == TAKEN
    )


def test_a_deleted_experiment_takes_its_runs_along_and_restores_them(
    mlflow: MlflowCaller,
) -> None:
    experiment = mlflow.experiment("digits")
    before, kept = (mlflow.start(experiment_id=experiment) for _ in range(2))
    mlflow.post("runs/delete", run_id=before)
    assert mlflow.post("experiments/delete", experiment_id=experiment).json() == {}

    found = mlflow.get("experiments/get-by-name", experiment_name="digits").json()["experiment"]
    assert (found["experiment_id"], found["lifecycle_stage"]) == (experiment, "deleted")
    assert error_of(mlflow.post("experiments/create", name="digits")) == TAKEN
    assert error_of(mlflow.post("runs/create", experiment_id=experiment)) == INVALID
    assert error_of(mlflow.post("experiments/delete", experiment_id=experiment)) == INVALID
    assert mlflow.run(kept)["info"]["lifecycle_stage"] == "deleted"

    assert mlflow.post("experiments/restore", experiment_id=experiment).json() == {}
    assert mlflow.run(kept)["info"]["lifecycle_stage"] == "active"
    assert mlflow.run(before)["info"]["lifecycle_stage"] == "deleted"
    assert error_of(mlflow.post("experiments/restore", experiment_id=experiment)) == MISSING


def test_lists_leave_out_a_deleted_experiment_until_a_run_is_submitted_to_it(
    mlflow: MlflowCaller, client: Client, bob: User
) -> None:
    experiment = mlflow.experiment("digits")
    mlflow.post("experiments/delete", experiment_id=experiment)
    headers = bearer(bob)
    url = "/api/v1/teams/default/experiments"
    assert client.get(url, headers=headers).json()["experiments"] == []
    answer = client.post(
        "/api/v1/teams/default/runs",
        {"experiment": "digits"},
        content_type="application/json",
        headers=headers,
    )
    assert answer.status_code == 201
    assert [one["name"] for one in client.get(url, headers=headers).json()["experiments"]] == [
        "digits"
    ]


def test_an_experiment_is_renamed_and_tagged(mlflow: MlflowCaller, team: Team) -> None:
    experiment = mlflow.experiment("digits")
    mlflow.experiment("taken")
    rename = "experiments/update"
    assert error_of(mlflow.post(rename, experiment_id=experiment, new_name="taken")) == TAKEN
    assert mlflow.post(rename, experiment_id=experiment, new_name="letters").json() == {}
    for key, value in (("mlflow.note.content", "Of MNIST."), ("a", "1"), ("b", "2")):
        call = mlflow.post(
            "experiments/set-experiment-tag", experiment_id=experiment, key=key, value=value
        )
        assert call.json() == {}
    gone = {"experiment_id": experiment, "key": "b"}
    assert mlflow.post("experiments/delete-experiment-tag", **gone).json() == {}
    assert error_of(mlflow.post("experiments/delete-experiment-tag", **gone)) == MISSING
    found = Experiment.objects.get(team=team, name="letters")
    assert (found.description, found.tags) == ("Of MNIST.", {"a": "1"})


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "a\0b", 5])
def test_a_name_that_cannot_be_is_refused(mlflow: MlflowCaller, name: object) -> None:
    answer = mlflow.post("experiments/create", name=name)
    assert error_of(answer) == INVALID
    assert "'name'" in answer.json()["message"]


def test_runs_of_pages_are_in_experiments_by_their_ids(
    mlflow: MlflowCaller, team: Team, bob: User
) -> None:
    run = make_run(team, bob)
    info = mlflow.run(str(run.number))["info"]
    assert info["experiment_id"] == str(run.experiment_id)
    assert info["status"] == "SCHEDULED"


@pytest.mark.parametrize("given", ["7", "x", "99999999999999999999", "-1"])
def test_an_experiment_that_is_not_there_is_not_found(mlflow: MlflowCaller, given: str) -> None:
    assert error_of(mlflow.get("experiments/get", experiment_id=given)) == MISSING
