"""Keras files are brought in and versions converted to ONNX, with real TensorFlow."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from models.imports import jobs
from models.imports.execution import job_log
from models.imports.onnx_conversion import CONVERTERS
from models.models import ModelImport, ModelVersion, OnnxConversion
from tests.factories import bearer, make_target
from tests.models.imports.converters import built_keras_files, converter_python, lend
from tests.models.saved_models import as_zip
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.models import Team

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.tensorflow]
MODELS = "/api/v1/teams/default/models"
IMPORTS = "/api/v1/teams/default/model-imports"


@pytest.fixture(scope="module", params=["2.21", "2.15"])
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def environment(release: str) -> Path:
    return converter_python(release)


@pytest.fixture(scope="module")
def files(environment: Path) -> Path:
    return built_keras_files(environment)


@pytest.fixture
def here(team: Team, release: str, environment: Path, home: Path) -> None:
    """Have both environments of a release at hand, so that no test builds one."""
    target = make_target(team)
    for spec in (
        EnvironmentSpec.of(release),
        EnvironmentSpec.of(release, packages=CONVERTERS[release]),
    ):
        lend(target, spec, environment, home)


def send(client: Client, by: User, name: str, content: bytes, **fields: str) -> Any:
    archive = SimpleUploadedFile(name, content)
    return client.post(MODELS, {"name": "m", **fields, "archive": archive}, headers=bearer(by))


def bring(client: Client, by: User, file: Path, **fields: str) -> Any:
    """Send a Keras file, do a worker's part, and return what the import says then."""
    answer = send(client, by, file.name, file.read_bytes(), **fields)
    assert answer.status_code == 202, answer.content
    assert answer.json()["state"] == "waiting"
    assert not ModelVersion.objects.exists()
    jobs.import_keras_file(ModelImport.objects.get().pk)
    return client.get(f"{IMPORTS}/1", headers=bearer(by)).json()


@pytest.mark.parametrize("name", ["digits.keras", "digits.h5", "varied.keras"])
def test_a_keras_file_becomes_a_version(
    client: Client, bob: User, here: None, files: Path, release: str, name: str
) -> None:
    said = {"framework_version": release, "tags": '{"a": "b"}', "description": "Digits."}
    brought = bring(client, bob, files / name, **said)
    assert (brought["state"], brought["error"]) == ("done", "")
    assert brought["version"] == "m:1"
    version = client.get(f"{MODELS}/m/versions/1", headers=bearer(bob)).json()
    (found,) = version["signatures"]["serving_default"]["inputs"].values()
    words, image = {"dtype": "string", "shape": [-1, 5]}, {"dtype": "float32"}
    assert found == (words if name == "varied.keras" else {**image, "shape": [-1, 8, 8, 1]})
    assert version["framework_version"].startswith(f"{release}.")
    assert (version["tags"], version["path"]) == ({"a": "b"}, name)
    assert f"{name} was saved with Keras" in job_log(ModelImport.objects.get())


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5"])
def test_a_lambda_layer_is_refused_unless_code_is_allowed(
    client: Client, bob: User, here: None, files: Path, release: str, name: str
) -> None:
    refused = bring(client, bob, files / name, framework_version=release)
    assert refused["state"] == "failed"
    assert "It has a Lambda layer (lambda), whose Python code would run" in refused["error"]
    assert not ModelVersion.objects.exists()
    ModelImport.objects.all().delete()
    allowed = bring(client, bob, files / name, framework_version=release, allow_code="true")
    assert (allowed["state"], allowed["error"]) == ("done", "")


def test_code_that_is_allowed_does_not_reach_the_installation(
    client: Client, bob: User, here: None, files: Path, release: str, home: Path
) -> None:
    (home / "secret_key").write_text("the secret of the installation")
    said = {"framework_version": release, "allow_code": "true"}
    brought = bring(client, bob, files / "reaching.keras", **said)
    assert (brought["state"], brought["error"]) == ("done", "")
    log = job_log(ModelImport.objects.get())
    assert "secret_key: No such file" in log
    assert "the secret of the installation" not in log
    assert not (home / "pwned").exists()


def test_a_harmless_archive_behind_a_lambda_layer_does_not_hide_it(
    client: Client, bob: User, here: None, files: Path, release: str, tmp_path: Path
) -> None:
    both = tmp_path / "both.h5"
    parts = (files / "lambda.h5", files / "digits.keras")
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    refused = bring(client, bob, both, framework_version=release)
    assert refused["state"] == "failed"
    assert "It has a Lambda layer (lambda), whose Python code would run" in refused["error"]


def test_a_version_becomes_onnx_that_answers_alike(
    client: Client, bob: User, here: None, files: Path, release: str
) -> None:
    folder = files / "two"
    packed = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert send(client, bob, "m.zip", as_zip(packed).read()).status_code == 201
    onnx = f"{MODELS}/m/versions/1/onnx"
    assert client.get(onnx, headers=bearer(bob)).status_code == 404
    asked = client.post(onnx, headers=bearer(bob))
    assert (asked.status_code, asked.json()["state"]) == (202, "waiting")
    jobs.convert_to_onnx(OnnxConversion.objects.get().pk)
    done = client.get(onnx, headers=bearer(bob)).json()
    assert (done["state"], done["error"]) == ("done", "")
    outputs = done["parity"]["outputs"]
    assert outputs["twice"] == {"absolute": 0.0, "relative": 0.0, "is_close": True}
    assert outputs["product"]["absolute"] < 1e-4
    assert done["parity"]["is_close"]
    file = client.get(f"{onnx}/download", headers=bearer(bob))
    content = b"".join(file.streaming_content)  # type: ignore[attr-defined]
    assert len(content) == done["size_bytes"]
    assert b"product" in content
    assert file["Content-Disposition"] == 'attachment; filename="m-1.onnx"'


def test_operations_that_onnx_does_not_know_are_named(
    client: Client, bob: User, here: None, files: Path
) -> None:
    folder = files / "strings"
    packed = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert send(client, bob, "m.zip", as_zip(packed).read()).status_code == 201
    onnx = f"{MODELS}/m/versions/1/onnx"
    client.post(onnx, headers=bearer(bob))
    jobs.convert_to_onnx(OnnxConversion.objects.get().pk)
    failed = client.get(onnx, headers=bearer(bob)).json()
    assert failed["state"] == "failed"
    assert "StringToHashBucketFast" in failed["error"]
    assert client.get(f"{onnx}/download", headers=bearer(bob)).status_code == 404


def test_a_file_that_names_code_of_other_modules_is_refused(
    client: Client, bob: User, here: None, release: str, tmp_path: Path
) -> None:
    config = {"class_name": "system", "module": "os", "config": {"command": "touch /tmp/x"}}
    file = tmp_path / "evil.keras"
    metadata = {"keras_version": "3.3.0" if release == "2.21" else "2.15.0"}
    packed = {
        "config.json": json.dumps({"layers": [config]}).encode(),
        "metadata.json": json.dumps(metadata).encode(),
        "model.weights.h5": b"",
    }
    file.write_bytes(as_zip(packed).read())
    refused = bring(client, bob, file, framework_version=release)
    assert refused["state"] == "failed"
    assert "It needs system of the module os, which is not part of Keras" in refused["error"]


def test_a_broken_file_says_so(client: Client, bob: User, here: None, release: str) -> None:
    file = io.BytesIO(as_zip({"config.json": b"{"}).read())
    send(client, bob, "m.keras", file.read(), framework_version=release)
    jobs.import_keras_file(ModelImport.objects.get().pk)
    brought = client.get(f"{IMPORTS}/1", headers=bearer(bob)).json()
    assert "a broken one: metadata.json is missing in it" in brought["error"]
