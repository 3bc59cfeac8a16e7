"""Small differences from TensorFlow Serving: the same codes and words where clients look."""

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.modelserver import server
from deploy.modelserver.errors import Code, ServingError
from deploy.modelserver.examples import check_classify, check_regress
from deploy.modelserver.signatures import Signature
from tests.modelserver.cores import ModelDirectories


async def test_the_platform_of_a_model_that_is_served_cannot_be_changed(tmp_path: Path) -> None:
    shelf = ModelDirectories(tmp_path)
    shelf.put("m", 1)
    async with shelf.core() as core:
        config = shelf.config("m")
        core.set_models([config])
        with pytest.raises(ServingError) as changed:
            core.set_models([replace(config, platform="onnx")])
        with pytest.raises(ServingError) as unknown:
            core.set_models([config, replace(config, name="n", platform="onnx")])
    assert (changed.value.code, changed.value.message) == (
        Code.INVALID_ARGUMENT,
        "Illegal to change a model's platform. For model m platform was tensorflow and new"
        " platform requested is onnx",
    )
    assert unknown.value.message == "Model n requests unsupported platform onnx"


def signature(inputs: str, outputs: str) -> Signature:
    return Signature(
        "s", dict.fromkeys(inputs.split(), "string"), tuple(outputs.split()), lambda *_: []
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "classify", "regress"),
    [
        ("inputs", "classes scores", "", "Expected one output Tensor."),
        ("inputs", "scores", "", "No regression outputs found in SignatureDef"),
        ("inputs", "outputs", "Expected classification signature outputs to contain", ""),
        ("x", "scores", "No classification inputs found", "No regression inputs found"),
        ("x", "classes scores", "No classification inputs found", "Expected one output Tensor."),
        ("x", "a b c", "Expected one or two output Tensors, found 3", "Expected one output"),
        ("a b", "scores", "Expected one input Tensor.", "Expected one input Tensor."),
    ],
)
def test_a_signature_of_another_kind_is_an_invalid_argument(
    inputs: str, outputs: str, classify: str, regress: str
) -> None:
    for check, words in ((check_classify, classify), (check_regress, regress)):
        if not words:
            check(signature(inputs, outputs))
            continue
        with pytest.raises(ServingError) as refused:
            check(signature(inputs, outputs))
        assert refused.value.code == Code.INVALID_ARGUMENT
        assert refused.value.message.startswith(words)


def test_the_version_is_told_as_tensorflow_model_server_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "version", lambda package: "2.21.0")
    assert server.describe_versions().splitlines() == [
        "TensorFlow ModelServer: 2.21.0+trainyard",
        "TensorFlow Library: 2.21.0",
    ]
