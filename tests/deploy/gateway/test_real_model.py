"""A real SavedModel, served by the real model server, scored through the gateway."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from deploy.config import ServiceResources
from deploy.contract.programs import ServiceEndpoint, programs_for
from deploy.contract.signatures import default_signature
from deploy.models import KeySlot, Service, ServiceState
from deploy.selectors import current_revision, scoring_uri, serving_uri
from deploy.services import deploy
from models.registration import Registration
from models.services import register_from_archive
from tests.deploy.conftest import ServiceStack
from tests.deploy.gateway.grpc_replicas import grpc_gateway
from tests.deploy.supervision.test_services import call, score
from tests.models.saved_models import as_tar_gz

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.tensorflow]


CLIENT = Path(__file__).with_name("grpc_client.py")


def test_a_registered_model_is_deployed_and_scores_by_rest_and_grpc(
    stage: ServiceStack, bob: User, tensorflow_python: Path, saved_models: Path
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
        registration=Registration(name="zoo", framework_version="2.21"),
    )
    assert version.signatures["serving_default"]["inputs"] == {
        "x": {"dtype": "float32", "shape": [-1, 2]}
    }
    stage.use_environment(version, tensorflow_python.parents[1])
    made = deploy(
        team=stage.team,
        by=bob,
        name="zoo",
        version=version,
        target=stage.target,
        resources=ServiceResources(cpu=1, memory_gb=4),
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
    asked = call("POST", f"{base}:classify", b'{"examples": [{"x": [1.0, 2.0]}]}', key=key)
    assert (asked[0], list(asked[1])) == (400, ["error"])
    _score_by_grpc(tensorflow_python, key)
    _run_the_programs_shown(service, tensorflow_python, key)


def _said_by(*command: str | Path) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run_the_programs_shown(service: Service, python: Path, key: str) -> None:
    """Run what the service's page shows as it stands there, with the key put in."""
    signature = default_signature(current_revision(service).model_version)
    with grpc_gateway() as address:
        place = ServiceEndpoint(scoring_uri(service), "zoo", address)
        shown = {
            program.name: program.text.replace("YOUR_KEY", key)
            for program in programs_for(place, signature)
        }
        assert json.loads(_said_by("sh", "-c", shown["curl"])) == {"predictions": [[0.0, 0.0]]}
        assert _said_by(sys.executable, "-c", shown["python"]) == "{'predictions': [[0.0, 0.0]]}\n"
        assert _said_by(python, "-c", shown["grpc"]) == "y [[0. 0.]]\n"


def _score_by_grpc(python: Path, key: str) -> None:
    """Have a client of TensorFlow Serving call, which knows of us the address and a key."""
    with grpc_gateway() as address:
        found = json.loads(_said_by(python, CLIENT, address, key, "zoo"))
    assert found["y"] == [[2.0, 4.0], [6.0, 8.0]]
    assert found["sum"] == 2_000_000.0
    assert found["version"] == 1
    assert found["metadata"] == ["signature_def"]
    assert found["states"] == [30]  # AVAILABLE
    assert found["no_model"] == [
        "NOT_FOUND",
        "Servable not found for request: Latest(nobody)",
    ]
    assert found["bad_input"][0] == "INVALID_ARGUMENT"
