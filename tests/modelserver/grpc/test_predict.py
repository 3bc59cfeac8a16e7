"""Predict over gRPC: what travels, what comes back, and how mistakes are answered."""

import base64
import json
import struct
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from ..serving import ModelServer
from .client import Caller, Tensor

pytestmark = pytest.mark.tensorflow

VALUES: dict[str, list[Any]] = {
    "float32": [0.1, -0.0, nan, inf, -inf, 3.4e38],
    "float64": [0.1, -0.0, nan, inf, -inf, 1e308],
    "float16": [0.5, -0.0, nan, inf, -inf, 65504],
    "int8": [-128, -1, 0, 127],
    "int16": [-(2**15), -1, 2**15 - 1],
    "int32": [-(2**31), -1, 0, 2**31 - 1],
    "int64": [-(2**63), -1, 0, 2**53 + 1, 2**63 - 1],
    "uint8": [0, 127, 128, 255],
    "uint16": [0, 2**16 - 1],
    "uint32": [0, 2**32 - 1],
    "uint64": [0, 2**53 + 1, 2**64 - 1],
    "bool": [True, False],
}
ECHOES = {"float32": "float", "float64": "double", "float16": "half"}
FLOAT = {"dtype": "DT_FLOAT"}


def shaped(*sizes: int) -> dict[str, Any]:
    return {"dim": [{"size": size} for size in sizes]}


@pytest.mark.parametrize("dtype", VALUES)
def test_a_type_travels_both_ways_to_the_last_bit(caller: Caller, dtype: str) -> None:
    sent = Tensor.of([VALUES[dtype]], dtype)
    reply = caller.predict("zoo", {"x": sent}, signature=f"echo_{ECHOES.get(dtype, dtype)}").ok()
    assert reply.tensors["y"] == sent


@pytest.mark.parametrize(
    "sent",
    [
        Tensor("bfloat16", (2,), bytes.fromhex("803f c07f")),  # 1 and NaN
        Tensor("complex64", (2,), struct.pack("<4f", 1, -2, inf, 0)),
        Tensor("complex128", (1,), struct.pack("<2d", 1e300, -0.0)),
    ],
    ids=lambda sent: sent.dtype,
)
def test_types_that_json_has_no_words_for_travel_too(caller: Caller, sent: Tensor) -> None:
    reply = caller.predict("types", {"x": sent}, signature=f"echo_{sent.dtype}").ok()
    assert reply.tensors["y"] == sent


def test_strings_travel_as_the_bytes_they_are(caller: Caller) -> None:
    sent = Tensor("string", (2, 2), [b"a\x00b", b"\xff\xfe", b"", b"x" * 100_000])
    reply = caller.predict("zoo", {"x": sent}, signature="echo_string").ok()
    assert reply.tensors["y"] == sent


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0, 2), (1, 1, 1, 1, 1)])
def test_scalars_and_empty_batches_keep_their_shape(caller: Caller, shape: tuple[int, ...]) -> None:
    for dtype in ("float32", "int64"):
        sent = Tensor.of(np.full(shape, 7), dtype)
        echo = f"echo_{ECHOES.get(dtype, dtype)}"
        assert caller.predict("zoo", {"x": sent}, signature=echo).ok().tensors["y"] == sent
    strings = Tensor("string", shape, [b"s"] * int(np.prod(shape)))
    reply = caller.predict("zoo", {"x": strings}, signature="echo_string").ok()
    assert reply.tensors["y"] == strings


@pytest.mark.parametrize(
    ("echo", "proto", "values"),
    [
        ("float", {"dtype": "DT_FLOAT", "floatVal": [1.5, 2]}, [1.5, 2, 2, 2]),
        ("double", {"dtype": "DT_DOUBLE", "doubleVal": [1.5]}, [1.5] * 4),
        ("int32", {"dtype": "DT_INT32", "intVal": [-7]}, [-7] * 4),
        ("int8", {"dtype": "DT_INT8", "intVal": [1, -2]}, [1, -2, -2, -2]),
        ("uint16", {"dtype": "DT_UINT16", "intVal": [65535]}, [65535] * 4),
        ("int64", {"dtype": "DT_INT64", "int64Val": [str(2**53 + 1)]}, [2**53 + 1] * 4),
        ("uint64", {"dtype": "DT_UINT64", "uint64Val": ["1", "2", "3", "4", "5"]}, [1, 2, 3, 4]),
        ("uint32", {"dtype": "DT_UINT32", "uint32Val": [9]}, [9] * 4),
        ("bool", {"dtype": "DT_BOOL", "boolVal": [False, True]}, [False, True, True, True]),
        ("half", {"dtype": "DT_HALF", "halfVal": [0x3C00]}, [1.0] * 4),
        ("float", {"dtype": "DT_FLOAT"}, [0.0] * 4),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_tensor_with_too_few_values_repeats_its_last_one(
    caller: Caller, echo: str, proto: dict[str, Any], values: list[Any]
) -> None:
    given = {"x": {**proto, "tensorShape": shaped(4)}}
    reply = caller.predict("zoo", signature=f"echo_{echo}", inputs=given).ok()
    assert reply.tensors["y"].values == values


def test_a_small_message_with_a_large_shape_repeats_its_value(caller: Caller) -> None:
    given = {"x": {"dtype": "DT_FLOAT", "floatVal": [1.5], "tensorShape": shaped(2**20)}}
    reply = caller.predict("zoo", signature="echo_float", inputs=given).ok()
    assert reply.tensors["y"].values == [1.5] * 2**20


def test_strings_repeat_their_last_one_and_may_come_as_content(caller: Caller) -> None:
    a, b = (base64.b64encode(item).decode() for item in (b"a", b"b"))
    listed = base64.b64encode(b"\x01\x00\x02" + b"x" + b"yz").decode()
    for proto, strings in (
        ({"stringVal": [a, b]}, [b"a", b"b", b"b"]),
        ({}, [b"", b"", b""]),
        ({"tensorContent": listed}, [b"x", b"", b"yz"]),
    ):
        given = {"x": {"dtype": "DT_STRING", "tensorShape": shaped(3), **proto}}
        reply = caller.predict("zoo", signature="echo_string", inputs=given).ok()
        assert reply.tensors["y"].data == strings


def test_answers_carry_typed_values_unless_content_is_asked_for(caller: Caller) -> None:
    fields = {
        dtype: caller.predict(
            "zoo", {"x": Tensor.of([1], dtype)}, signature=f"echo_{ECHOES.get(dtype, dtype)}"
        )
        .ok()
        .tensors["y"]
        .fields[-1]
        for dtype in ("float32", "int64", "uint8", "float16", "bool")
    }
    assert fields == {
        "float32": "float_val",
        "int64": "int64_val",
        "uint8": "int_val",
        "float16": "half_val",
        "bool": "bool_val",
    }


def test_a_message_of_tens_of_megabytes_goes_both_ways(caller: Caller) -> None:
    generator = np.random.default_rng(1)
    sent = Tensor.of(generator.standard_normal(3_000_000))
    assert caller.predict("zoo", {"x": sent}, signature="echo_float").ok().tensors["y"] == sent
    numbers = Tensor.of(generator.integers(-(2**62), 2**62, 300_000), "int64")
    reply = caller.predict("zoo", {"x": numbers}, signature="echo_int64").ok()
    assert reply.tensors["y"] == numbers
    typed = {"dtype": "DT_FLOAT", "tensorShape": shaped(1000), "floatVal": list(range(1000))}
    reply = caller.predict("zoo", signature="echo_float", inputs={"x": typed}).ok()
    assert reply.tensors["y"].values == list(range(1000))


def test_the_answer_names_the_model_the_version_and_the_signature(caller: Caller) -> None:
    def spec(**asked: Any) -> dict[str, Any]:
        reply = caller.predict("line", {"x": Tensor.of([2])}, **asked).ok()
        return {**reply.response["modelSpec"], "y": reply.tensors["y"].values}

    named = {"name": "line", "signatureName": "serving_default"}
    assert spec() == {**named, "version": "2", "y": [4]}
    assert spec(version=1) == {**named, "version": "1", "y": [3]}
    assert spec(label="stable") == {**named, "version": "1", "y": [3]}


def test_the_same_inputs_have_the_same_answer_over_rest(caller: Caller, many: ModelServer) -> None:
    a, b = [[0.25, 1e-3], [3, 4]], [[1, -2], [3, 2**31 - 1]]
    tensors = {"a": Tensor.of(a), "b": Tensor.of(b, "int32")}
    reply = caller.predict("zoo", tensors, signature="two").ok()
    body = json.dumps({"signature_name": "two", "inputs": {"a": a, "b": b}})
    rest = many.post("/v1/models/zoo:predict", body).json["outputs"]
    assert reply.tensors.keys() == rest.keys()
    for name, tensor in reply.tensors.items():
        assert np.array_equal(tensor.array, np.array(rest[name], tensor.dtype))


def test_only_the_outputs_that_are_asked_for_are_computed(caller: Caller) -> None:
    given = {"x": Tensor.of([-1])}
    lenient = caller.predict("halves", given, outputs=("lenient",)).ok()
    assert {name: tensor.values for name, tensor in lenient.tensors.items()} == {"lenient": [0]}
    code, details = caller.predict("halves", given).error
    assert code == "INVALID_ARGUMENT"
    assert "x must be positive" in details


def test_signatures_without_inputs_and_with_a_memory_work(caller: Caller) -> None:
    assert caller.predict("zoo", signature="nothing").ok().tensors["one"].values == [1]
    counts = [
        caller.predict("types", signature="counter").ok().tensors["count"].values for _ in range(40)
    ]
    assert counts == list(range(counts[0], counts[0] + 40))


X = {"x": Tensor.of([[1, 2]])}
AB = {"a": Tensor.of([1]), "b": Tensor.of([1], "int32")}


@pytest.mark.parametrize(
    ("asked", "code", "details"),
    [
        ({"model": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ({"model": "owl"}, "NOT_FOUND", "Servable not found for request: Latest(owl)"),
        (
            {"model": "zoo", "version": 9},
            "NOT_FOUND",
            "Servable not found for request: Specific(zoo, 9)",
        ),
        (
            {"model": "line", "label": "canary"},
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: canary",
        ),
        (
            {"model": "zoo", "signature": "x"},
            "FAILED_PRECONDITION",
            'Serving signature key "x" not found.',
        ),
        (
            {"model": "zoo"},
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x})."
            " Sent extra: {}. Missing but required: {x}.",
        ),
        (
            {"model": "zoo", "tensors": {**X, "z": X["x"]}},
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({x,z}) != len({x})."
            " Sent extra: {z}. Missing but required: {}.",
        ),
        (
            {"model": "zoo", "tensors": {"z": X["x"]}},
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: serving_default_x:0) not found in request and no"
            " default value provided. Inputs expected to be in the request {z}, or default input"
            " alias set: ",
        ),
        (
            {"model": "zoo", "tensors": AB, "signature": "two", "outputs": ("sum", "q")},
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: q Outputs expected to be in the set"
            " {negative,sum}.",
        ),
        (
            {"model": "zoo", "tensors": AB, "signature": "two", "outputs": ("sum", "sum")},
            "INVALID_ARGUMENT",
            "duplicate output tensor alias: sum",
        ),
        (
            {"model": "zoo", "tensors": {"x": Tensor.of([[1]], "float64")}},
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but double is provided",
        ),
        (
            {"model": "zoo", "tensors": {"x": Tensor("string", (1,), [b"1"])}},
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but string is provided",
        ),
    ],
)
def test_a_mistake_is_answered_with_the_code_and_words_of_the_original(
    caller: Caller, asked: dict[str, Any], code: str, details: str
) -> None:
    assert caller.predict(**asked).error == (code, details)


def test_a_request_without_a_model_spec_is_refused(caller: Caller) -> None:
    for method in ("Predict", "Classify", "Regress"):
        reply = caller.prediction(method, {})
        assert reply.error == ("INVALID_ARGUMENT", "Missing ModelSpec")


@pytest.mark.parametrize(
    "proto",
    [
        {**FLOAT, "tensorShape": shaped(1, 2), "tensorContent": "AAAA"},
        {**FLOAT, "tensorShape": {"unknownRank": True}, "floatVal": [1]},
        {**FLOAT, "tensorShape": shaped(-1), "floatVal": [1]},
        {**FLOAT, "tensorShape": shaped(2**62, 2**62), "floatVal": [1]},
        {**FLOAT, "tensorShape": shaped(*[1] * 100), "floatVal": [1]},
        {"dtype": "DT_STRING", "tensorShape": shaped(2), "tensorContent": "/w=="},
        {"dtype": "DT_RESOURCE", "tensorShape": shaped(1)},
        {"dtype": "DT_INVALID"},
    ],
    ids=["short", "no rank", "negative", "huge", "deep", "bad strings", "resource", "invalid"],
)
def test_a_tensor_that_can_not_be_read_is_named(caller: Caller, proto: dict[str, Any]) -> None:
    code, details = caller.predict("zoo", inputs={"x": proto}).error
    assert code == "INVALID_ARGUMENT"
    assert details.startswith("tensor parsing error: x")


def test_what_the_graph_refuses_is_an_invalid_argument(caller: Caller) -> None:
    reply = caller.predict("zoo", {"x": Tensor.of([[1, 2, 3]])}, signature="strict")
    assert reply.code == "INVALID_ARGUMENT"
    assert "Matrix size-incompatible" in reply.details


def test_long_details_are_cut(caller: Caller) -> None:
    reply = caller.predict("zoo", X, signature="s" * 3000)
    assert reply.code == "FAILED_PRECONDITION"
    assert reply.details == 'Serving signature key "'.ljust(1024, "s") + "...TRUNCATED"
