"""The smoke test: generated from a signature or recorded, and how its response is evaluated."""

import json
from typing import Any

import grpc
import pytest
from tensorboard.compat.proto import tensor_pb2, types_pb2

from deploy.contract.predict_message import DATA_TYPES
from deploy.supervision.grpc_call import CallOutcome
from deploy.supervision.smoke_test import (
    SmokeTest,
    SmokeTestResult,
    evaluate_call,
    evaluate_response,
    run_smoke_test,
    smoke_test_for,
)
from models.models import ModelVersion, RegisteredModel
from tests.deploy.fake_replicas import replica, sends
from tests.deploy.gateway.grpc_replicas import PREDICT, grpc_replica

MADE_UP, RECORDED = SmokeTest(b"{}"), SmokeTest(b"{}", is_recorded=True)


def version_with(**shapes: list[int]) -> ModelVersion:
    inputs = {name: {"dtype": "float32", "shape": shape} for name, shape in shapes.items()}
    signature = {"method": "tensorflow/serving/predict", "inputs": inputs, "outputs": {}}
    return ModelVersion(model=RegisteredModel(name="m"), signatures={"serving_default": signature})


def body_of(smoke_test: SmokeTest) -> Any:
    assert smoke_test.body is not None
    return json.loads(smoke_test.body)


def test_a_request_is_made_up_in_the_shape_of_the_signature() -> None:
    assert body_of(smoke_test_for(version_with(x=[-1, 2]), None)) == {"instances": [[0.0, 0.0]]}


def test_an_image_sized_request_is_made_up_as_well() -> None:
    rows = body_of(smoke_test_for(version_with(x=[-1, 224, 224, 3]), None))["instances"]
    assert (len(rows), len(rows[0]), len(rows[0][0]), rows[0][0][0]) == (1, 224, 224, [0.0] * 3)


def test_the_recorded_request_goes_before() -> None:
    smoke_test = smoke_test_for(version_with(x=[-1, 2]), {"instances": [[5, 6]]})
    assert (body_of(smoke_test), smoke_test.is_recorded) == ({"instances": [[5, 6]]}, True)


@pytest.mark.parametrize(
    "version", [ModelVersion(signatures={}), version_with(x=[-1, 10_000, 10_000])]
)
def test_where_none_can_be_made_up_people_are_told(version: ModelVersion) -> None:
    verdict = run_smoke_test("127.0.0.1:1", "m", smoke_test_for(version, None))
    assert not verdict.failure
    assert verdict.notice.startswith("No smoke test ran")


@pytest.mark.parametrize(
    ("smoke_test", "status", "answer", "failure", "notice"),
    [
        (MADE_UP, 200, b'{"predictions": [1]}', "", ""),
        (MADE_UP, 200, b"<html>", "no JSON object", ""),
        (MADE_UP, 204, b"", "it responded with 204", ""),
        (MADE_UP, 400, b'{"error": "x"}', "", "rejected the smoke test"),
        (MADE_UP, 413, b'{"error": "x"}', "", "rejected the smoke test"),
        (MADE_UP, 501, b'{"error": "x"}', "", "cannot be sent in this way (501"),
        (MADE_UP, 404, b'{"error": "x"}', "it answered 404", ""),
        (MADE_UP, 429, b'{"error": "x"}', "it answered 429", ""),
        (MADE_UP, 500, b'{"error": "x"}', 'it answered 500: {"error": "x"}', ""),
        (RECORDED, 501, b'{"error": "x"}', "it answered 501", ""),
        (RECORDED, 200, b'{"predictions": [1]}', "", ""),
        (RECORDED, 404, b'{"error": "x"}', "it rejected the recorded request with 404", ""),
        (RECORDED, 503, b"", "it answered 503", ""),
    ],
)
def test_an_answer_is_judged(
    smoke_test: SmokeTest, status: int, answer: bytes, failure: str, notice: str
) -> None:
    verdict = evaluate_response(smoke_test, status, answer)
    assert failure in verdict.failure
    assert bool(verdict.failure) == bool(failure)
    assert notice in verdict.notice
    assert bool(verdict.notice) == bool(notice)


@pytest.mark.parametrize("code", sorted(code.name for code in grpc.StatusCode))
def test_a_code_of_grpc_stands_for_one_cause(code: str) -> None:
    result = evaluate_call(CallOutcome(code, "as the model says"), "by gRPC")
    refused = code in ("INVALID_ARGUMENT", "OUT_OF_RANGE", "UNIMPLEMENTED")
    assert result.was_answered == (code == "OK")
    assert bool(result.refusal) == refused
    assert bool(result.failure) == (code != "OK" and not refused)
    assert result.lost_connection == (code == "UNAVAILABLE")
    said = result.failure or result.notice
    assert code in said or code in ("OK", "UNAVAILABLE", "DEADLINE_EXCEEDED")


@pytest.mark.parametrize(
    ("over_grpc", "failure", "notice"),
    [
        ("OK", "", "was answered over gRPC; REST refused it (400"),
        ("INVALID_ARGUMENT", "", "rejected the smoke test generated"),
        ("FAILED_PRECONDITION", "it answered FAILED_PRECONDITION: no table", ""),
    ],
)
def test_grpc_tells_why_rest_refused(over_grpc: str, failure: str, notice: str) -> None:
    def behave(request: bytes, context: Any) -> bytes:
        if over_grpc != "OK":
            context.abort(grpc.StatusCode[over_grpc], "no table")
        return b""

    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"
    with replica(sends(refusal)) as rest, grpc_replica(behave) as grpc_server:
        smoke_test = smoke_test_for(version_with(x=[-1, 2]), None)
        result = run_smoke_test(rest.address, "m", smoke_test, grpc_server.address)
    assert (failure in result.failure, bool(result.failure)) == (True, bool(failure))
    assert notice in result.notice
    ((method, _, sent),) = grpc_server.calls
    assert method == PREDICT
    assert sent == smoke_test.message


def test_a_replica_without_grpc_is_judged_by_rest_alone() -> None:
    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"
    with replica(sends(refusal)) as rest:
        smoke_test = smoke_test_for(version_with(x=[-1, 2]), None)
        result = run_smoke_test(rest.address, "m", smoke_test, "127.0.0.1:1")
    assert not result.failure
    assert "(400: {})" in result.notice


@pytest.mark.parametrize("dtype", sorted(DATA_TYPES))
def test_a_message_names_the_type_and_shape_of_each_input(dtype: str) -> None:
    version = version_with(x=[-1, 300])
    version.signatures["serving_default"]["inputs"]["x"]["dtype"] = dtype
    message = smoke_test_for(version, None).message
    assert message is not None
    tensor = tensor_in(message, b"\x0a\x01x")
    names = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF"}
    assert types_pb2.DataType.Name(tensor.dtype) == f"DT_{names.get(dtype, dtype.upper())}"
    assert [one.size for one in tensor.tensor_shape.dim] == [1, 300]
    assert list(tensor.string_val) == ([b"text"] if dtype == "string" else [])


def tensor_in(message: bytes, key: bytes) -> Any:
    """Return the TensorProto of the input whose key is encoded so; it is the last of a message."""
    entry = message[message.index(key) + len(key) :]
    length, start = entry[1], 2
    if length > 127:
        length, start = (length & 127) | entry[2] << 7, 3
    assert len(entry) == start + length
    return tensor_pb2.TensorProto.FromString(entry[start:])


def test_ragged_tensors_leave_nothing_to_test_and_say_so() -> None:
    version = version_with(x=[-1, 2])
    version.signatures["serving_default"]["outputs"] = {"y": {"dtype": "ragged", "shape": None}}
    result = run_smoke_test("127.0.0.1:1", "m", smoke_test_for(version, None), "127.0.0.1:1")
    assert not result.failure
    assert result.notice.startswith("No smoke test ran. The signature serving_default has ragged")


def test_a_server_that_is_gone_or_talks_nonsense_was_cut_off() -> None:
    assert run_smoke_test("127.0.0.1:1", "m", MADE_UP).lost_connection
    for said in (b"", b"\x00 no HTTP\r\n\r\n"):
        with replica(sends(said)) as fake:
            assert run_smoke_test(fake.address, "m", MADE_UP).lost_connection


def test_a_server_that_dawdles_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.supervision.smoke_test.RESPONSE_TIMEOUT_SECONDS", 0.2)
    with replica(lambda connection, request: bool(connection.recv(1))) as fake:
        verdict = run_smoke_test(fake.address, "m", MADE_UP)
    assert isinstance(verdict, SmokeTestResult)
    assert "did not answer within" in verdict.failure
