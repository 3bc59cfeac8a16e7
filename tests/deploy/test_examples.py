"""Requests made up from signatures."""

import ast
from typing import Any

import pytest

from deploy.examples import curl_for, example_for, python_for
from models.models import ModelVersion


def version_with(inputs: dict[str, tuple[str, list[int] | None]], name: str = "") -> ModelVersion:
    described = {key: {"dtype": dtype, "shape": shape} for key, (dtype, shape) in inputs.items()}
    return ModelVersion(
        signatures={name or "serving_default": {"method": "", "inputs": described, "outputs": {}}}
    )


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
        ({}, {"inputs": {}}),
    ],
)
def test_the_body_fits_the_inputs(
    inputs: dict[str, tuple[str, list[int] | None]], body: dict[str, Any]
) -> None:
    assert example_for(version_with(inputs)).body == body


def test_another_signature_is_named() -> None:
    example = example_for(version_with({"x": ("float32", [-1])}, "predict"))
    assert example.body == {"signature_name": "predict", "instances": [0.0]}


@pytest.mark.parametrize("shape", [[-1, 4], [-1, 299, 299, 3]])
def test_the_programs_are_programs(shape: list[int]) -> None:
    version = version_with({"x": ("float32", shape)})
    example = example_for(version)
    ast.parse(python_for("http://localhost/score", example, version))
    assert "http://localhost/score" in curl_for("http://localhost/score", example)
