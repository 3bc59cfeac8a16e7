"""Requests, and programs that send them, made up from signatures."""

import ast
import json
import shlex
from typing import Any

import pytest

from deploy.contract.examples import example_for
from deploy.contract.programs import ClientProgram, ServiceEndpoint, programs_for
from deploy.contract.signatures import default_signature
from tests.deploy.contract.signatures import Described, version_with

HERE = ServiceEndpoint("http://localhost/score", "digits", "localhost:8500")


def programs(
    inputs: Described, name: str = "serving_default", place: ServiceEndpoint = HERE
) -> dict[str, ClientProgram]:
    signature = default_signature(version_with(inputs, name))
    return {program.name: program for program in programs_for(place, signature)}


def body_of(program: ClientProgram) -> Any:
    """Return the value of `body` in a Python program."""
    for line in ast.parse(program.text).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "body":
            return eval(ast.unparse(line.value))  # noqa: S307 (our own program)
    raise AssertionError("there is no body")


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        ({"x": ("float32", [-1, 3])}, {"instances": [[0.0, 0.0, 0.0]]}),
        ({"x": ("int64", [-1])}, {"instances": [0]}),
        ({"x": ("float32", None)}, {"instances": [0.0]}),
        ({"x": ("float32", [2, 2])}, {"inputs": [[0.0, 0.0], [0.0, 0.0]]}),
        ({"x": ("float32", [])}, {"inputs": 0.0}),
        (
            {"age": ("int32", [-1, 1]), "name": ("string", [-1])},
            {"instances": [{"age": [0], "name": "text"}]},
        ),
        ({"on": ("bool", [-1]), "rate": ("float32", [])}, {"inputs": {"on": [False], "rate": 0.0}}),
        ({"examples": ("string", [-1])}, {"instances": [{"b64": ""}]}),
        ({}, None),
        ({"x": ("float16", [-1, 3])}, None),
        ({"x": ("ragged", None)}, None),
    ],
)
def test_the_body_fits_the_inputs(inputs: Described, body: dict[str, Any] | None) -> None:
    assert example_for(version_with(inputs)).body == body


def test_another_signature_is_named() -> None:
    example = example_for(version_with({"x": ("float32", [-1])}, "predict"))
    assert example.body == {"signature_name": "predict", "instances": [0.0]}
    shown = programs({"x": ("float32", [-1])}, "predict")
    assert 'signature_name = "predict"' in shown["grpc"].text


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": ("float32", [-1, 4])},
        {"x": ("float32", [-1, 299, 299, 3])},
        {"x": ("float32", [-1, 28, 28])},
        {"a": ("int32", [40, 3]), "b": ("bool", [])},
        {"it's": ("string", [-1]), "n": ("int64", [-1, 2])},
        {"examples": ("string", [-1])},
    ],
)
def test_the_programs_are_programs(inputs: Described) -> None:
    shown = programs(inputs)
    assert list(shown) == ["curl", "python", "javascript", "grpc"]
    body = body_of(shown["python"])
    assert example_for(version_with(inputs)).body in (None, body)
    ast.parse(shown["grpc"].text)
    words = shlex.split(shown["curl"].text.replace("\\\n", " "))
    data = words[words.index("-d") + 1]
    assert data == "@request.json" or json.loads(data) == example_for(version_with(inputs)).body
    assert all("YOUR_KEY" in program.text for program in shown.values())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "uint16", "complex64", "qint8", "ragged"])
def test_where_rest_answers_nothing_its_programs_say_so(dtype: str) -> None:
    shown = programs({"x": (dtype, [-1, 2])})
    rest = {shown[name].text for name in ("curl", "python", "javascript")}
    assert all(dtype in text or "ragged" in text for text in rest)
    assert all(text.startswith(("#", "//")) for text in rest)
    assert ("grpc" in shown) == (dtype != "ragged")


def test_a_service_that_is_open_or_has_no_grpc_is_shown_so() -> None:
    place = ServiceEndpoint("http://localhost/score", "digits", needs_key=False)
    shown = programs({"x": ("float32", [-1, 4])}, place=place)
    assert "grpc" not in shown
    assert not any("YOUR_KEY" in program.text for program in shown.values())


def test_a_grpc_call_names_the_service_where_no_key_does() -> None:
    here = ServiceEndpoint("http://localhost/score", "digits", "localhost:8500", "default/digits")
    assert "('trainyard-service', 'default/digits')" in programs({}, place=here)["grpc"].text
    assert "trainyard-service" not in programs({})["grpc"].text
