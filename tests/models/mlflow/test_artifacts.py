"""Artifacts of runs: put, listed, fetched and deleted, and never outside of their run."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from config.body_limit import ANONYMOUS_MAX_BYTES, max_body_bytes
from runs.models import RunFile
from tests.factories import make_team, make_token
from tests.models.mlflow.protocol import API, ARTIFACTS, MlflowCaller, error_of
from workspace.models import Team

pytestmark = pytest.mark.django_db
INVALID = (400, "INVALID_PARAMETER_VALUE")
MISSING = (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.fixture
def root(mlflow: MlflowCaller) -> str:
    """Return the path of a run's artifacts."""
    return f"0/{mlflow.start()}/artifacts"


def listed(mlflow: MlflowCaller, path: str) -> dict[str, object]:
    """Return what is in a folder: the sizes of files, and None for folders."""
    answer = mlflow.client.get(f"{mlflow.base}/{ARTIFACTS}", {"path": path}, headers=mlflow.headers)
    assert answer.status_code == 200, answer.json()
    return {file["path"]: file.get("file_size") for file in answer.json()["files"]}


@pytest.mark.parametrize("name", ["a b.txt", "a+b.txt", "größe.txt", "deep/er/x.json"])
def test_a_file_comes_back_as_it_was_sent(mlflow: MlflowCaller, root: str, name: str) -> None:
    assert mlflow.put_artifact(f"{root}/{name}", b"<html>").json() == {}
    assert mlflow.put_artifact(f"{root}/{name}", b"<html>2").json() == {}
    answer = mlflow.artifact("GET", f"{root}/{name}")
    assert answer.content == b"<html>2"
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    part = mlflow.artifact("GET", f"{root}/{name}", Range="bytes=1-4")
    assert (part.status_code, part.content) == (206, b"html")
    assert RunFile.objects.get().path == f"outputs/mlflow/{name}"


def test_a_folder_is_listed_by_base_names_in_order(mlflow: MlflowCaller, root: str) -> None:
    for name in ("b.txt", "a/x.txt", "a/y/z.txt", "A/upper.txt", "empty"):
        mlflow.put_artifact(f"{root}/{name}", b"" if name == "empty" else b"123")
    whole = listed(mlflow, root)
    assert list(whole) == ["A", "a", "b.txt", "empty"]
    assert whole == {"A": None, "a": None, "b.txt": 3, "empty": 0}
    assert listed(mlflow, f"{root}/a/") == {"x.txt": 3, "y": None}
    for nothing in (f"{root}/b.txt", f"{root}/nowhere"):
        assert listed(mlflow, nothing) == {}
    run = root.split("/")[1]
    answer = mlflow.get("artifacts/list", run_id=run, path="a").json()
    assert answer["root_uri"] == f"mlflow-artifacts:/{root}"
    assert [file["path"] for file in answer["files"]] == ["a/x.txt", "a/y"]


def test_a_file_or_a_whole_folder_is_deleted(mlflow: MlflowCaller, root: str) -> None:
    for name in ("keep.txt", "d/1", "d/2/3", "one"):
        mlflow.put_artifact(f"{root}/{name}")
    for gone in ("d", "one"):
        assert mlflow.artifact("DELETE", f"{root}/{gone}").json() == {}
        assert error_of(mlflow.artifact("DELETE", f"{root}/{gone}")) == MISSING
    assert listed(mlflow, root) == {"keep.txt": 1}
    assert error_of(mlflow.artifact("GET", f"{root}/one")) == MISSING


@pytest.mark.parametrize(
    "name",
    [
        "../up",
        "a/../../up",
        "%2e%2e/up",
        "%252e%252e%252fup",
        "..%5cup",
        "a%00b",
        "a%23b",
        "/absolute",
        "C:/x",
        "a//b",
        "",
        "%25252525252e",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(mlflow: MlflowCaller, root: str, name: str) -> None:
    for answer in (
        mlflow.put_artifact(f"{root}/{name}"),
        mlflow.artifact("GET", f"{root}/{name}"),
        mlflow.artifact("DELETE", f"{root}/{name}"),
    ):
        assert answer.status_code in {400, 404}, name
    assert not RunFile.objects.exists()


@pytest.mark.parametrize("path", ["7/{}/artifacts/x", "0/{}/x", "0/{}", "0/99/artifacts/x", "x"])
def test_a_path_that_is_of_no_run_is_not_found(mlflow: MlflowCaller, root: str, path: str) -> None:
    assert mlflow.put_artifact(path.format(root.split("/")[1])).status_code in {400, 404}
    assert not RunFile.objects.exists()


def test_a_deleted_run_takes_no_more_files(mlflow: MlflowCaller, root: str) -> None:
    mlflow.put_artifact(f"{root}/a")
    mlflow.post("runs/delete", run_id=root.split("/")[1])
    assert error_of(mlflow.put_artifact(f"{root}/b")) == INVALID
    assert error_of(mlflow.artifact("DELETE", f"{root}/a")) == INVALID
    assert mlflow.artifact("GET", f"{root}/a").status_code == 200


def test_artifacts_of_another_team_are_not_there(
    mlflow: MlflowCaller, root: str, client: Client, charlie: User
) -> None:
    mlflow.put_artifact(f"{root}/a")
    make_team("others", admin=charlie)
    for team in ("default", "others"):
        stranger = MlflowCaller(client, charlie, team=team)
        assert error_of(stranger.artifact("GET", f"{root}/a")) == MISSING
        assert error_of(stranger.put_artifact(f"{root}/a")) == MISSING


def test_transfers_in_parts_are_left_to_single_requests(
    mlflow: MlflowCaller, root: str, client: Client, bob: User, team: Team
) -> None:
    base = "/mlflow/default/api/2.0/mlflow-artifacts"
    headers = {"Authorization": f"Bearer {make_token(bob)}"}
    for answer in (
        client.post(f"{base}/mpu/create/{root}/a", "{}", "application/json", headers=headers),
        client.get(f"{base}/presigned/{root}/a", headers=headers),
    ):
        assert error_of(answer) == (501, "NOT_IMPLEMENTED")
    info = client.get("/mlflow/default/api/3.0/mlflow/server-info", headers=headers).json()
    assert info["multipart_uploads_enabled"] is False


def test_files_may_be_large_and_other_bodies_may_not() -> None:
    prefix = "/mlflow/default"
    large = max_body_bytes("PUT", f"{prefix}/{ARTIFACTS}/0/1/artifacts/model.bin")
    assert large > max_body_bytes("POST", f"{prefix}/{API}/runs/log-batch") > ANONYMOUS_MAX_BYTES
