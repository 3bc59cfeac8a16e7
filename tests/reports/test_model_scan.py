"""What is known of a model when it is registered: libraries that it needs, signatures to call."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings
from tensorboard.compat.proto import types_pb2

from deploy.models import Revision, Service
from deploy.supervision.environments import environment_for
from models.savedmodel.graph_reader import _saved_model_class
from tests.factories import make_target
from tests.models.saved_models import graph_file, model_files
from tests.reports.test_framework_versions import deploy
from tests.reports.test_registration import upload, with_graphs
from workspace.models import EnvironmentState, Team

pytestmark = pytest.mark.slow

TEXT_OPS = ("TFText>WhitespaceTokenizeWithOffsetsV2", "SentencepieceTokenizeOp")


def findings(registered: Any, kind: str) -> list[str]:
    return [found["message"] for found in registered.json()["scan"] if found["kind"] == kind]


def test_d4_the_scan_names_the_library_and_who_has_it(
    client: Client, bob: User, team: Team
) -> None:
    registered = upload(client, bob, model_files(ops=TEXT_OPS))
    assert findings(registered, "library_ops") == [
        "It has operations of TensorFlow Text: SentencepieceTokenizeOp,"
        " TFText>WhitespaceTokenizeWithOffsetsV2. The image tensorflow/serving has them,"
        " Trainyard's own model server has not."
    ]
    assert findings(registered, "custom_ops") == []


@pytest.mark.parametrize(
    ("op", "kind", "library"),
    [
        ("WhitespaceTokenizeWithOffsets", "library_ops", "TensorFlow Text"),
        ("SentencepieceOp", "library_ops", "TensorFlow Text"),
        ("CaseFoldUTF8", "library_ops", "TensorFlow Text"),
        ("TFText>RoundRobinTrim", "library_ops", "TensorFlow Text"),
        ("SimpleMLInferenceOpWithHandle", "library_ops", "TensorFlow Decision Forests"),
        ("Addons>MyOp", "custom_ops", "that TensorFlow itself does not"),
    ],
)
def test_d4_operations_are_told_by_the_library_that_has_them(
    client: Client, bob: User, team: Team, op: str, kind: str, library: str
) -> None:
    [message] = findings(upload(client, bob, model_files(ops=(op,))), kind)
    assert library in message
    assert op in message


def test_d4_a_place_with_our_own_server_is_refused_with_the_remedy(
    client: Client, bob: User, team: Team, settings: Settings
) -> None:
    settings.TRAINYARD_ALLOW_UNCONFINED_MODELS = True
    make_target(team)
    make_target(team, "engine", kind="docker", address="unix:///no/such.sock", pool="far")
    upload(client, bob, model_files(ops=TEXT_OPS))
    answer = deploy(client, bob)
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert error["field"] == "target"
    assert "operations of TensorFlow Text: SentencepieceTokenizeOp" in error["message"]
    assert "Use a target with containers" in error["message"]
    assert not Service.objects.exists()
    settings.TRAINYARD_SERVING_IMAGE = "none"
    assert deploy(client, bob, "engine").status_code == 400


def test_d4_where_the_image_serves_it_is_deployed_and_never_falls_back(
    client: Client, bob: User, team: Team
) -> None:
    make_target(team, "engine", kind="docker", address="unix:///no/such.sock", pool="far")
    upload(client, bob, model_files(ops=TEXT_OPS))
    assert deploy(client, bob, "engine").status_code == 201
    image = environment_for(Revision.objects.get())
    image.state, image.error = EnvironmentState.FAILED, "There is no such image."
    image.save()
    assert environment_for(Revision.objects.get()) == image


def ragged_and_dense() -> bytes:
    """Return a graph whose default signature returns a ragged tensor; `mean` is dense."""
    saved_model = _saved_model_class().FromString(graph_file(signature_name="mean"))
    [graph] = saved_model.meta_graphs
    default = graph.signature_def["serving_default"]
    default.CopyFrom(graph.signature_def["mean"])
    output = default.outputs["y"]
    output.Clear()
    output.composite_tensor.type_spec.type_spec_class = 3  # RAGGED_TENSOR_SPEC
    sparse = graph.signature_def["by_coordinates"]
    sparse.CopyFrom(graph.signature_def["mean"])
    sparse.inputs["x"].coo_sparse.values_tensor_name = "x:0"
    sparse.inputs["x"].dtype = types_pb2.DT_FLOAT
    content: bytes = saved_model.SerializeToString()
    return content


def test_d1_registration_and_page_say_which_signature_cannot_be_called(
    client: Client, bob: User, team: Team
) -> None:
    registered = upload(client, bob, with_graphs(ragged_and_dense()))
    assert registered.status_code == 201
    sparse, ragged = findings(registered, "not_callable")
    assert "The signature serving_default cannot be called" in ragged
    assert "output y is ragged" in ragged
    assert "The signature by_coordinates cannot be called" in sparse
    assert "input x is sparse" in sparse
    described = registered.json()["signatures"]
    assert described["serving_default"]["outputs"]["y"]["encoding"] == "ragged"
    assert "encoding" not in described["mean"]["outputs"]["y"]
    client.force_login(bob)
    page = client.get("/t/default/models/m/versions/1/").content.decode()
    assert "The signature serving_default cannot be called" in page
    assert '<td data-label="Type" class="mono">ragged</td>' in page
    assert '<td data-label="Type" class="mono">sparse float32</td>' in page


def test_d1_such_a_model_is_deployed(client: Client, bob: User, team: Team) -> None:
    make_target(team)
    upload(client, bob, with_graphs(ragged_and_dense()))
    assert deploy(client, bob).status_code == 201
