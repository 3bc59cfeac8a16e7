"""A real SavedModel, served by the real model server, scored through the gateway."""

from pathlib import Path

import pytest
from django.contrib.auth.models import User

from deploy.configuration import Resources
from deploy.models import KeySlot, ServiceState
from deploy.selectors import serving_uri
from deploy.services import deploy
from models.registration import Registration
from models.services import register_from_archive
from tests.deploy.conftest import Stage
from tests.deploy.test_services import call, score
from tests.models.saved_models import as_tar_gz
from tests.modelserver.conftest import saved_models, tensorflow_python

__all__ = ["saved_models", "tensorflow_python"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.tensorflow]


def test_a_registered_model_is_deployed_and_scores(
    stage: Stage, bob: User, tensorflow_python: Path, saved_models: Path
) -> None:
    folder = saved_models / "zoo" / "3"
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    version = register_from_archive(
        team=stage.team,
        by=bob,
        file=as_tar_gz(files),
        filename="zoo.tar.gz",
        registration=Registration("zoo", framework_version="2.21"),
    )
    assert version.signatures["serving_default"]["inputs"] == {
        "x": {"dtype": "float32", "shape": [-1, 2]}
    }
    stage.use_python(version, f'#!/bin/sh\nexec {tensorflow_python} "$@"\n')
    made = deploy(
        team=stage.team,
        by=bob,
        name="zoo",
        version=version,
        target=stage.target,
        resources=Resources(cpu=1, memory_gb=4),
    )
    service = stage.wait_for_state(made.service, ServiceState.HEALTHY)
    key = made.keys[KeySlot.SECONDARY]
    by_row = score(service, key, b'{"instances": [[1.0, 2.0], [3.0, 4.0]]}')
    by_column = score(service, key, b'{"inputs": [[1.0, 2.0], [3.0, 4.0]]}')
    assert by_row[0] == 200
    assert by_row[1]["predictions"] == by_column[1]["outputs"]
    base = f"{serving_uri(service)}/v1/models/zoo"
    status, answer, _ = call("GET", base, key=key)
    assert (status, answer["model_version_status"][0]["state"]) == (200, "AVAILABLE")
    status, answer, _ = call("GET", f"{base}/versions/1/metadata", key=key)
    assert (status, answer["model_spec"]["version"]) == (200, "1")
    status, answer, _ = score(service, key, b'{"instances": [["a", "b"]]}')
    assert (status, list(answer)) == (400, ["error"])
    status, answer, _ = score(service, key, b'{"inputs": {"z": [[1.0, 2.0]]}}')
    assert status == 400
    assert "x" in answer["error"]
    print(answer)
