"""Classify, regress, metadata, status and configuration over gRPC, beside REST where it answers."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_for
from workspace.compute.local.ports import free_port

from ..fixtures import StartServer
from ..serving import ModelServer
from .client import Caller, GrpcClient, Tensor

pytestmark = pytest.mark.tensorflow


def example(**features: Any) -> dict[str, Any]:
    kinds = {float: "floatList", int: "int64List"}
    return {
        "features": {
            "feature": {name: {kinds[type(v)]: {"value": [v]}} for name, v in features.items()}
        }
    }


def listed(*examples: dict[str, Any]) -> dict[str, Any]:
    return {"exampleList": {"examples": examples}}


def spec(signature: str = "", model: str = "flowers") -> dict[str, Any]:
    return {"name": model, "signatureName": signature}


def answered_by(signature: str) -> dict[str, Any]:
    return {"name": "flowers", "version": "1", "signatureName": signature}


def test_examples_are_classified_as_over_rest(caller: Caller, many: ModelServer) -> None:
    request = {"modelSpec": spec(), "input": listed(example(size=0.25), example(size=2.0))}
    reply = caller.prediction("Classify", request).ok()
    rest = many.post("/v1/models/flowers:classify", {"examples": [{"size": 0.25}, {"size": 2.0}]})
    classifications = reply.response["result"]["classifications"]
    over_grpc = [[[c["label"], c["score"]] for c in row["classes"]] for row in classifications]
    assert (
        over_grpc
        == rest.json["results"]
        == [[["red", 0.25], ["RED", 0.75]], [["red", 2.0], ["RED", -1.0]]]
    )
    assert reply.response["modelSpec"] == answered_by("serving_default")


def test_examples_are_regressed_as_over_rest(caller: Caller, many: ModelServer) -> None:
    with_context = {
        "exampleListWithContext": {
            "context": example(count=3),
            "examples": [example(size=0.5), example(size=1.5)],
        }
    }
    request = {"modelSpec": spec("regress"), "input": with_context}
    reply = caller.prediction("Regress", request).ok()
    body = {
        "signature_name": "regress",
        "context": {"count": 3},
        "examples": [{"size": 0.5}, {"size": 1.5}],
    }
    rest = many.post("/v1/models/flowers:regress", body)
    over_grpc = [one["value"] for one in reply.response["result"]["regressions"]]
    assert over_grpc == rest.json["results"] == [1.5, 4.5]
    assert reply.response["modelSpec"] == answered_by("regress")


def task(signature: str, method: str, model: str = "flowers") -> dict[str, Any]:
    return {
        "modelSpec": spec(signature, model),
        "methodName": f"tensorflow/serving/{method}",
    }


def test_several_signatures_judge_the_same_examples_at_once(caller: Caller) -> None:
    tasks = [task("regress", "regress"), task("", "classify")]
    request = {"tasks": tasks, "input": listed(example(size=0.5))}
    first, second = caller.prediction("MultiInference", request).ok().response["results"]
    assert first["modelSpec"] == answered_by("regress")
    assert first["regressionResult"] == {"regressions": [{"value": 0.5}]}
    assert second["modelSpec"] == answered_by("serving_default")
    [row] = second["classificationResult"]["classifications"]
    assert row["classes"] == [{"label": "red", "score": 0.5}, {"label": "RED", "score": 0.5}]


@pytest.mark.parametrize(
    ("tasks", "code", "details"),
    [
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            [task("regress", "regress"), task("", "classify", "zoo")],
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [task("regress", "regress"), task("regress", "regress")],
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress",
        ),
        (
            [task("x", "regress")],
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: x",
        ),
        (
            [task("", "predict")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        ([task("", "classify", "owl")], "NOT_FOUND", "Servable not found for request: Latest(owl)"),
    ],
)
def test_tasks_that_do_not_fit_together_are_refused(
    caller: Caller, tasks: list[dict[str, Any]], code: str, details: str
) -> None:
    request = {"tasks": tasks, "input": listed(example(size=0.5))}
    assert caller.prediction("MultiInference", request).error == (code, details)


def test_a_request_without_examples_or_with_another_signature_is_refused(caller: Caller) -> None:
    empty = caller.prediction("Classify", {"modelSpec": spec()})
    assert empty.error == ("INVALID_ARGUMENT", "Input is empty.")
    request = {"modelSpec": spec("x"), "input": listed(example(size=0.5))}
    for method in ("Classify", "Regress"):
        reply = caller.prediction(method, request)
        assert reply.error == ("INVALID_ARGUMENT", "No signature was found with the name: x")


def test_metadata_is_what_rest_says(caller: Caller, many: ModelServer) -> None:
    request = {"modelSpec": {"name": "zoo"}, "metadataField": ["signature_def"]}
    reply = caller.prediction("GetModelMetadata", request).ok().response
    rest = many.get("/v1/models/zoo/metadata").json
    assert reply["modelSpec"] == {"name": "zoo", "version": "3"}
    ours, theirs = reply["metadata"]["signature_def"], rest["metadata"]["signature_def"]
    assert ours.keys() == theirs["signature_def"].keys()
    for name, signature in theirs["signature_def"].items():
        assert ours[name]["method_name"] == signature["method_name"]
        for side in ("inputs", "outputs"):
            assert ours[name][side] == signature[side]


def test_metadata_fields_other_than_signatures_are_refused(caller: Caller) -> None:
    for fields, details in (
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["owner"], "Metadata field owner is not supported"),
    ):
        request = {"modelSpec": {"name": "zoo"}, "metadataField": fields}
        reply = caller.prediction("GetModelMetadata", request)
        assert reply.error == ("INVALID_ARGUMENT", details)
    reply = caller.prediction("GetModelMetadata", {"metadataField": ["signature_def"]})
    assert reply.error == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_status_lists_versions_as_rest_does(caller: Caller, many: ModelServer) -> None:
    reply = caller.model("GetModelStatus", {"modelSpec": {"name": "line"}}).ok()
    states = [(one["version"], one["state"]) for one in reply.response["model_version_status"]]
    rest = many.get("/v1/models/line").json["model_version_status"]
    assert states == [(one["version"], one["state"]) for one in rest]
    assert states == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
    one = caller.model("GetModelStatus", {"modelSpec": {"name": "line", "version": "1"}}).ok()
    assert one.response == {
        "model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {}}]
    }


def test_the_status_of_what_is_not_there_is_not_found(caller: Caller) -> None:
    for asked, error in (
        ({}, ("INVALID_ARGUMENT", "Missing ModelSpec")),
        (
            {"modelSpec": {"name": "owl"}},
            ("NOT_FOUND", "Could not find any versions of model owl"),
        ),
        (
            {"modelSpec": {"name": "line", "version": "9"}},
            ("NOT_FOUND", "Could not find version 9 of model line"),
        ),
    ):
        assert caller.model("GetModelStatus", asked).error == error


def configured(folder: Path, **policy: Any) -> dict[str, Any]:
    """Return a configuration of the one model `line`."""
    model = {"name": "line", "basePath": str(folder), "modelPlatform": "tensorflow", **policy}
    return {"config": {"modelConfigList": {"config": [model]}}}


def test_a_new_version_and_a_new_configuration_fail_no_request(
    start_server: StartServer, grpc_client: GrpcClient, saved_models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "line"
    shutil.copytree(saved_models / "line" / "1", folder / "1")
    server = start_server(
        "--model_name=line", f"--model_base_path={folder}", grpc_port=free_port(())
    )
    caller = Caller(grpc_client, server.wait_until_ready().grpc_target)
    caller.flood()
    try:
        wait_for(lambda: "1" in caller.look()["versions"], "answers of version 1")
        shutil.copytree(saved_models / "line" / "2", tmp_path / "copy")
        (tmp_path / "copy").rename(folder / "2")
        wait_for(lambda: "2" in caller.look()["versions"], "answers of version 2", 60)

        back = configured(folder, modelVersionPolicy={"specific": {"versions": ["1"]}})
        caller.model("HandleReloadConfigRequest", back).ok()
        known = caller.look()["versions"]["1"]
        wait_for(lambda: caller.look()["versions"]["1"] > known, "version 1 answering again", 60)
        both = configured(folder, modelVersionPolicy={"all": {}})
        caller.model("HandleReloadConfigRequest", both).ok()
        known = caller.look()["versions"]["2"]
        wait_for(lambda: caller.look()["versions"]["2"] > known, "version 2 answering again", 60)
    finally:
        seen = caller.stop_flood()
    assert list(seen["codes"]) == ["OK"]
    assert seen["wrong"] == []

    labelled = configured(
        folder, modelVersionPolicy={"all": {}}, versionLabels={"stable": "1", "canary": "2"}
    )
    caller.model("HandleReloadConfigRequest", labelled).ok()
    given = {"x": Tensor.of([2])}
    for label, value in (("stable", 3), ("canary", 4)):
        assert caller.predict("line", given, label=label).ok().tensors["y"].values == [value]


def test_a_configuration_that_is_refused_changes_nothing(
    start_server: StartServer, grpc_client: GrpcClient, saved_models: Path
) -> None:
    folder = saved_models / "line"
    server = start_server(
        "--model_name=line", f"--model_base_path={folder}", grpc_port=free_port(())
    )
    caller = Caller(grpc_client, server.wait_until_ready().grpc_target)
    twice = configured(folder)
    twice["config"]["modelConfigList"]["config"] *= 2
    for config, code, words in (
        ({}, "INVALID_ARGUMENT", "Only ModelConfigList is currently supported"),
        (
            {
                "config": {
                    "customModelConfig": {
                        "@type": "type.googleapis.com/tensorflow.serving.ModelSpec"
                    }
                }
            },
            "INVALID_ARGUMENT",
            "Only ModelConfigList is currently supported",
        ),
        (twice, "INVALID_ARGUMENT", "line"),
        (configured(Path("relative")), "INVALID_ARGUMENT", "relative"),
        (
            configured(folder, versionLabels={"next": "9"}),
            "FAILED_PRECONDITION",
            "not currently available for inference",
        ),
    ):
        reply = caller.model("HandleReloadConfigRequest", config)
        assert reply.code == code, reply.error
        assert words in reply.details
    assert caller.predict("line", {"x": Tensor.of([2])}).ok().tensors["y"].values == [4]
