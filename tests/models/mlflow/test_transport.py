"""Who may call, and how what goes wrong is told to MLflow's clients."""

from base64 import b64encode

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.factories import bearer, make_team, make_token
from tests.models.mlflow.protocol import API, MlflowCaller, error_of
from workspace.models import Scope, Team

pytestmark = pytest.mark.django_db
GET_DEFAULT = f"/mlflow/default/{API}/experiments/get?experiment_id=0"


@pytest.mark.parametrize("user", ["", "bob", "token", "someone else"])
def test_a_token_may_be_the_password_of_basic_authentication(
    client: Client, bob: User, team: Team, user: str
) -> None:
    basic = b64encode(f"{user}:{make_token(bob)}".encode()).decode()
    answer = client.get(GET_DEFAULT, headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer ty_nonsense", "Basic !", "Basic Ym9i", "Bearer", "Digest x"]
)
def test_without_a_valid_token_nothing_is_answered(client: Client, team: Team, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    assert error_of(client.get(GET_DEFAULT, headers=headers)) == (401, "UNAUTHENTICATED")


def test_an_expired_token_is_told_how_to_get_another(client: Client, bob: User) -> None:
    expired = make_token(bob, days=-1)
    answer = client.get(GET_DEFAULT, headers={"Authorization": f"Bearer {expired}"})
    assert error_of(answer) == (401, "UNAUTHENTICATED")
    assert "MLFLOW_TRACKING_TOKEN" in answer.json()["message"]


def test_a_session_of_a_page_is_no_token(client: Client, bob: User) -> None:
    client.force_login(bob)
    assert error_of(client.get(GET_DEFAULT)) == (401, "UNAUTHENTICATED")


def test_viewers_and_tokens_for_reading_may_read_alone(
    client: Client, bob: User, vera: User
) -> None:
    for caller in (MlflowCaller(client, vera), MlflowCaller(client, bob, Scope.READ)):
        assert caller.get("experiments/get", experiment_id="0").status_code == 200
        assert error_of(caller.post("runs/create", experiment_id="0")) == (
            403,
            "PERMISSION_DENIED",
        )


def test_teams_and_runs_of_others_are_not_there(
    client: Client, mlflow: MlflowCaller, charlie: User
) -> None:
    run = mlflow.start()
    make_team("others", admin=charlie)
    missing = (404, "RESOURCE_DOES_NOT_EXIST")
    assert error_of(MlflowCaller(client, charlie).get("runs/get", run_id=run)) == missing
    theirs = MlflowCaller(client, charlie, team="others")
    assert error_of(theirs.get("runs/get", run_id=run)) == missing
    assert error_of(theirs.post("runs/delete", run_id=run)) == missing


@pytest.mark.parametrize(
    "path",
    [
        f"{API}/logged-models",
        f"{API}/runs/outputs",
        f"{API}/registered-models/create",
        "api/3.0/mlflow/traces",
        "ajax-api/2.0/mlflow/runs/search",
        "nonsense",
    ],
)
def test_what_is_not_offered_looks_like_an_older_server(mlflow: MlflowCaller, path: str) -> None:
    answer = mlflow.client.post(f"/mlflow/default/{path}", "{}", "application/json")
    assert error_of(answer) == (404, "ENDPOINT_NOT_FOUND")


def test_all_that_is_wrong_is_told_at_once_by_name(mlflow: MlflowCaller) -> None:
    answer = mlflow.post(
        "runs/log-batch",
        metrics=[
            {"key": "a", "value": "high", "timestamp": 1, "step": 0},
            {"key": "../up", "value": 1, "timestamp": 1, "step": 1.5},
            {"value": True, "timestamp": -1},
        ],
        params=[{"key": "p" * 251, "value": 5}],
        tags=[{"key": "nul", "value": "\0"}],
    )
    assert error_of(answer) == (400, "INVALID_PARAMETER_VALUE")
    message = answer.json()["message"]
    assert "Missing value for required parameter 'run_id'." in message
    assert "Missing value for required parameter 'metrics[2].key'." in message
    for name in (
        "metrics[0].value",
        "metrics[1].key",
        "metrics[1].step",
        "metrics[2].value",
        "metrics[2].timestamp",
        "params[0].key",
        "params[0].value",
        "tags[0].value",
    ):
        assert f"for parameter '{name}'" in message


@pytest.mark.parametrize("body", ["[1]", "{", '{"a": 1, "a": 2}', "null", '"\\ud800"'])
def test_a_body_that_is_no_object_is_refused(
    client: Client, bob: User, team: Team, body: str
) -> None:
    answer = client.post(
        f"/mlflow/default/{API}/runs/create", body, "application/json", headers=bearer(bob)
    )
    assert error_of(answer) == (400, "INVALID_PARAMETER_VALUE")


def test_numbers_may_be_texts_and_null_means_nothing(mlflow: MlflowCaller) -> None:
    run = mlflow.start(experiment_id=None, start_time="1700000000123", unknown={"a": 1})
    metric = {"key": "loss", "value": "0.5", "timestamp": "1700000000456", "step": "7"}
    assert mlflow.post("runs/log-metric", run_uuid=run, **metric).status_code == 200
    found = mlflow.run(run)
    assert found["info"]["start_time"] == 1700000000123
    assert found["data"]["metrics"] == [
        {"key": "loss", "value": 0.5, "timestamp": 1700000000456, "step": 7}
    ]


def test_a_wrong_method_is_no_endpoint(mlflow: MlflowCaller) -> None:
    assert error_of(mlflow.get("runs/create")) == (405, "ENDPOINT_NOT_FOUND")
