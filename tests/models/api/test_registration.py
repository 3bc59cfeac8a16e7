"""Registering models over REST."""

import json
import tarfile
import zipfile
from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient, Client

from models.models import ModelVersion
from models.savedmodel.checkpoint_index import MAGIC
from models.savedmodel.graph_reader import MAX_OUTPUT_CHARS
from runs.files.uploads import receive_file
from runs.models import Run
from runs.tracking import NewTrackedRun, track_run
from tests.factories import bearer, make_run
from tests.models.saved_models import (
    as_tar_gz,
    as_zip,
    graph_file,
    index_file,
    model_files,
    put_outputs,
)
from workspace.models import Scope, Team

MODELS = "/api/v1/teams/default/models"


@pytest.fixture
def run(team: Team, bob: User) -> Run:
    run = make_run(team, bob)
    put_outputs(run, {**model_files("outputs/digits"), "outputs/notes.txt": b"hello"})
    return run


def register(client: Client, by: User, data: object) -> Any:
    return client.post(
        MODELS, json.dumps(data), content_type="application/json", headers=bearer(by)
    )


def upload(client: Client, by: User, content: bytes, name: str = "m.zip", **fields: str) -> Any:
    archive = SimpleUploadedFile(name, content)
    return client.post(MODELS, {"name": "m", **fields, "archive": archive}, headers=bearer(by))


def test_a_folder_of_a_runs_outputs_becomes_version_1_then_2(
    client: Client, bob: User, run: Run
) -> None:
    answer = register(
        client,
        bob,
        {
            "run": run.number,
            "path": "outputs/digits",
            "name": "digits",
            "framework": "TensorFlow",
            "framework_version": "2.21",
            "resource_configuration": {"cpu": 1, "memory_in_gb": 0.5},
            "tags": {"stage": "test", "seed": 7},
            "description": "First try.",
        },
    )
    assert answer.status_code == 201, answer.content
    first = answer.json()
    assert first["id"] == "digits:1"
    assert first["signatures"]["serving_default"]["inputs"] == {
        "x": {"dtype": "float32", "shape": [-1, 4]}
    }
    assert list(first["signatures"]) == ["serving_default"]
    assert first["tags"] == {"stage": "test", "seed": "7"}
    assert first["resource_configuration"] == {"cpu": 1.0, "memory_in_gb": 0.5}
    assert (first["run"], first["experiment"], first["path"]) == (
        run.number,
        "digits",
        "outputs/digits",
    )
    assert first["snapshot"] == run.source.digest
    assert [file["path"] for file in first["files"]] == [
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    second = register(client, bob, {"run": run.number, "path": "digits", "name": "digits"}).json()
    assert second["id"] == "digits:2"
    listed = client.get(MODELS, headers=bearer(bob)).json()
    assert [(model["name"], model["latest_version"]) for model in listed] == [("digits", 2)]
    shown = client.get(f"{MODELS}/digits", headers=bearer(bob)).json()
    assert [version["version"] for version in shown["versions"]] == [2, 1]


def test_a_model_comes_from_a_tracked_run(client: Client, team: Team, bob: User) -> None:
    tracked = track_run(team=team, by=bob, given=NewTrackedRun(experiment="laptop"))
    for path, content in model_files("outputs/digits").items():
        receive_file(tracked, path, BytesIO(content).read)
    answer = register(client, bob, {"run": tracked.number, "path": "digits", "name": "digits"})
    assert answer.status_code == 201, answer.content
    version = answer.json()
    assert (version["run"], version["experiment"]) == (tracked.number, "laptop")
    assert version["snapshot"] is None
    client.force_login(bob)
    page = client.get("/t/default/models/digits/versions/1/").content.decode()
    assert f"run {tracked.number}" in page
    assert "Snapshot" not in page


def test_the_framework_version_is_the_runs_or_else_the_models(
    client: Client, bob: User, run: Run
) -> None:
    from_run = register(client, bob, {"run": run.number, "path": "digits", "name": "a"}).json()
    assert from_run["framework_version"] == "2.21"
    content = as_zip(model_files(version="2.15.1")).read()
    assert upload(client, bob, content).json()["framework_version"] == "2.15.1"


def test_the_newest_of_numbered_exports_is_taken(client: Client, bob: User, team: Team) -> None:
    run = make_run(team, bob)
    put_outputs(run, model_files("outputs/export/9") | model_files("outputs/export/1600000010"))
    answer = register(client, bob, {"run": run.number, "path": "outputs/export", "name": "m"})
    assert answer.json()["path"] == "outputs/export/1600000010"
    without_path = register(client, bob, {"run": run.number, "name": "m"})
    assert without_path.json()["path"] == "outputs/export/1600000010"


def test_several_models_are_named_and_none_is_guessed(
    client: Client, bob: User, team: Team
) -> None:
    run = make_run(team, bob)
    put_outputs(run, model_files("outputs/cat") | model_files("outputs/dog"))
    answer = register(client, bob, {"run": run.number, "name": "m"})
    assert answer.status_code == 400
    assert "Name one of them as the path:\noutputs/cat\noutputs/dog" in answer.json()["detail"]


@pytest.mark.parametrize("pack", [as_zip, as_tar_gz])
@pytest.mark.parametrize("folder", ["", "mnist", "mnist/1"])
def test_an_archive_is_registered_from_wherever_its_model_lies(
    client: Client, bob: User, pack: Any, folder: str
) -> None:
    name = "m.zip" if pack is as_zip else "m.tar.gz"
    answer = upload(client, bob, pack(model_files(folder)).read(), name, tags='{"a": "b"}')
    assert answer.status_code == 201, answer.content
    assert answer.json()["file_count"] == 3
    assert answer.json()["tags"] == {"a": "b"}


BAD_ARCHIVES = {
    "keras": ({"model.keras": b"PK"}, "a Keras archive. Send that file itself"),
    "hdf5": ({"model.h5": b"HDF"}, "a Keras HDF5 file. Send that file itself"),
    "pickle": ({"model.pkl": b"cos"}, "a Python pickle, which runs code"),
    "checkpoint": ({"ckpt-1.index": b"x"}, "a checkpoint: variables without a graph"),
    "nothing of the kind": (
        {"a.txt": b"x"},
        "There is not a SavedModel: a folder with saved_model.pb",
    ),
    "garbage": ({"saved_model.pb": b"\xff" * 300}, "saved_model.pb is damaged or not a SavedModel"),
    "empty graph file": ({"saved_model.pb": b""}, "saved_model.pb is empty"),
    "text": ({"saved_model.pb": b"hello, world"}, "saved_model.pb is damaged or not a SavedModel"),
    "other message": ({"saved_model.pb": b"\x08\x01"}, "holds no graph"),
    "cut short": (
        {**model_files(), "saved_model.pb": graph_file()[:-9]},
        "saved_model.pb is damaged or not a SavedModel",
    ),
    "no variables": ({"saved_model.pb": graph_file()}, "variables/variables.index is missing"),
    "no shard": (
        {
            path: content
            for path, content in model_files().items()
            if not path.endswith("00000-of-00001")
        },
        "variables/variables.data-00000-of-00001 is missing",
    ),
    "damaged index": (
        {**model_files(), "variables/variables.index": b"1234567890"},
        "variables/variables.index is damaged",
    ),
    "lost shard": (
        {**model_files(), "variables/variables.index": index_file(7, 9)},
        "variables/variables.data-00000-of-00002 is missing",
    ),
    "half a shard": (
        {**model_files(), "variables/variables.index": index_file(700)},
        "variables.data-00000-of-00001 has 7 bytes of at least 700",
    ),
    "index cut short": (
        {**model_files(), "variables/variables.index": index_file(7)[:-30]},
        "variables/variables.index is damaged or cut short",
    ),
    "index of garbage": (
        {**model_files(), "variables/variables.index": b"\xff" * 60 + MAGIC},
        "variables/variables.index is damaged or cut short",
    ),
    "no signature": (model_files(has_signature=False), "no signature, so it cannot be"),
    "other tag": (model_files(tags=("train",)), "only one tagged train"),
    "lost asset": (model_files(assets=("vocabulary.txt",)), "assets/vocabulary.txt is missing"),
    "text form": ({"saved_model.pbtxt": b"x"}, "is in text form"),
}


def test_a_graph_that_tells_too_much_is_refused(client: Client, bob: User, run: Run) -> None:
    put_outputs(run, model_files("outputs/m", version="9" * (MAX_OUTPUT_CHARS + 1)))
    answer = register(client, bob, {"run": run.number, "path": "m", "name": "m"})
    assert answer.status_code == 413
    assert "is too large to inspect" in answer.json()["detail"]


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_what_cannot_be_served_is_refused_in_words(client: Client, bob: User, case: str) -> None:
    files, words = BAD_ARCHIVES[case]
    answer = upload(client, bob, as_zip(files).read())
    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "archive"
    assert not ModelVersion.objects.exists()


def test_a_file_that_is_no_archive_is_refused(client: Client, bob: User) -> None:
    answer = upload(client, bob, b"not a zip")
    assert answer.status_code == 400
    assert "it is damaged" in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "archive"


def test_a_damaged_model_of_a_run_is_refused_naming_the_path(
    client: Client, bob: User, team: Team
) -> None:
    run = make_run(team, bob)
    put_outputs(run, {"outputs/m/saved_model.pb": b"\x00" * 64})
    answer = register(client, bob, {"run": run.number, "path": "m", "name": "m"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "path"


def test_every_wrong_field_is_named_at_once(client: Client, bob: User, run: Run) -> None:
    answer = register(
        client,
        bob,
        {
            "run": run.number,
            "name": "no spaces",
            "framework": "PyTorch",
            "framework_version": "two",
            "resource_configuration": {"cpu": -1, "disk": 2},
            "tags": {"a": []},
            "discription": "",
        },
    )
    assert answer.status_code == 400
    assert {error["field"] for error in answer.json()["errors"]} == {
        "name",
        "framework",
        "framework_version",
        "resource_configuration.cpu",
        "resource_configuration.disk",
        "tags.a",
        "discription",
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{", "body"),
        ("[1]", "body"),
        ('{"name": "m"}', "run"),
        ('{"name": "m", "run": "1"}', "run"),
    ],
)
def test_a_body_that_means_nothing_is_refused(
    client: Client, bob: User, body: str, field: str
) -> None:
    answer = client.post(MODELS, body, content_type="application/json", headers=bearer(bob))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("path", ["../../etc", "digits/../../..", "/etc/passwd", "nope"])
def test_a_path_outside_the_outputs_finds_nothing(
    client: Client, bob: User, run: Run, path: str
) -> None:
    answer = register(client, bob, {"run": run.number, "path": path, "name": "m"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "path"


def test_viewers_read_and_strangers_see_nothing(
    client: Client, bob: User, vera: User, charlie: User, run: Run
) -> None:
    data = {"run": run.number, "path": "digits", "name": "digits"}
    assert register(client, vera, data).status_code == 403
    assert register(client, charlie, data).status_code == 404
    register(client, bob, data)
    read_only = bearer(bob, Scope.READ)
    assert (
        client.post(
            MODELS, json.dumps(data), content_type="application/json", headers=read_only
        ).status_code
        == 403
    )
    for path in ("", "/digits", "/digits/versions/1", "/digits/versions/1/download"):
        assert client.get(MODELS + path, headers=bearer(charlie)).status_code == 404
    assert client.get(f"{MODELS}/digits/versions/1", headers=bearer(vera)).status_code == 200
    assert client.get(f"{MODELS}/digits/versions/2", headers=bearer(vera)).status_code == 404


async def _download(by: dict[str, str], format: str) -> tuple[Any, bytes]:
    answer: Any = await AsyncClient().get(
        f"{MODELS}/digits/versions/1/download?format={format}", headers=by
    )
    if not answer.streaming:
        return answer, answer.content
    return answer, b"".join([piece async for piece in answer.streaming_content])


@pytest.mark.django_db(transaction=True)
async def test_a_version_is_downloaded_whole_in_both_formats(
    client: Client, bob: User, run: Run
) -> None:
    from asgiref.sync import sync_to_async

    await sync_to_async(register)(
        client, bob, {"run": run.number, "path": "digits", "name": "digits"}
    )
    by = await sync_to_async(bearer)(bob)
    answer, content = await _download(by, "tar.gz")
    assert answer["Content-Disposition"] == 'attachment; filename="digits-1.tar.gz"'
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        weights = archive.extractfile("1/variables/variables.data-00000-of-00001")
        assert weights is not None
        assert weights.read() == b"weights"
    _, content = await _download(by, "zip")
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.read("1/saved_model.pb") == graph_file()
    answer, _ = await _download(by, "rar")
    assert answer.status_code == 400
