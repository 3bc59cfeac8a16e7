"""What the converter takes a Keras file for: what Keras does."""

from pathlib import Path
from typing import Any

import pytest

from models.imports.keras_allowlist import allowed_objects
from models.imports.keras_files import HDF5_MAGIC
from models.imports.programs.keras_to_savedmodel import (
    KerasConversionError,
    _is_h5,
    check_objects,
)
from tests.models.saved_models import as_zip

ARCHIVE = as_zip({"config.json": b"{}"}).read()
BOTH = HDF5_MAGIC + ARCHIVE


@pytest.mark.parametrize(
    ("name", "content", "is_h5"),
    [
        ("m.keras", ARCHIVE, False),
        ("m.keras", BOTH, False),
        ("m.h5", HDF5_MAGIC, True),
        ("m.h5", BOTH, True),
        ("m.hdf5", BOTH, True),
    ],
)
def test_a_file_is_what_it_is_named(tmp_path: Path, name: str, content: bytes, is_h5: bool) -> None:
    (tmp_path / name).write_bytes(content)
    assert _is_h5(tmp_path / name) is is_h5


@pytest.mark.parametrize(
    ("name", "content"),
    [("m.KERAS", BOTH), ("m.H5", BOTH), ("m", BOTH), ("m.keras", HDF5_MAGIC)],
)
def test_what_keras_could_take_for_another_kind_is_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(KerasConversionError):
        _is_h5(tmp_path / name)


def layer(name: str, module: str | None = "keras.layers", /, **config: Any) -> dict[str, Any]:
    return {"class_name": name, "module": module, "config": config, "registered_name": None}


def function(name: str, module: str | None = "builtins") -> dict[str, Any]:
    return {"class_name": "function", "module": module, "config": name, "registered_name": name}


def in_model(*layers: Any) -> dict[str, Any]:
    return {**layer("Functional", "keras.src.models.functional", layers=list(layers))}


HARMLESS = {
    "a layer with an initializer": layer(
        "Dense", activation="relu", kernel_initializer=layer("GlorotUniform", "keras.initializers")
    ),
    "a wrapped layer": layer("TimeDistributed", layer=layer("Dense")),
    "a legacy layer": {"class_name": "Dense", "config": {"activation": "softmax"}},
    "an activation as a function": layer("Dense", activation=function("gelu")),
    "an operation": {
        **layer("GetItem", "keras.src.ops.numpy"),
        "registered_name": "GetItem",
    },
    "a tensor of an input": {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 3], "dtype": "float32", "keras_history": ["input", 0, 0]},
    },
    "a policy of the root module": layer("DTypePolicy", "keras", name="float32"),
    "an operation of TensorFlow's": layer("TFOpLambda", function="math.multiply"),
    "a slice": layer("SlicingOpLambda", function="__operators__.getitem"),
    "words of its own": layer("StringLookup", vocabulary=["a", "b"]),
}


@pytest.mark.parametrize("found", HARMLESS.values(), ids=list(HARMLESS))
def test_what_keras_models_are_made_of_may_be_loaded(found: dict[str, Any]) -> None:
    check_objects(in_model(found), allowed_objects())


def test_how_the_model_was_compiled_does_not_count() -> None:
    config = {**in_model(layer("Dense")), "compile_config": {"loss": layer("MyLoss", None)}}
    check_objects(config, allowed_objects())


HOSTILE = {
    "a Lambda layer": layer("Lambda"),
    "a function as bytecode": {"class_name": "__lambda__", "config": {"value": "x"}},
    "a file-writing operation": layer("TFOpLambda", function="io.write_file"),
    "an operation without a module": layer("TFOpLambda", function="py_function"),
    "all raw operations": layer("TFOpLambda", function="raw_ops.WriteFile"),
    "a model from a path": layer("TFSMLayer", filepath="/x"),
    "a pickle": layer("TorchModuleWrapper", module="gASV"),
    "a function of Keras's tools": layer("Dense", activation=function("get_file", "keras.utils")),
    "a loader as activation": layer("Dense", activation=function("load_model", "keras.models")),
    "an unknown activation": layer("Dense", activation="load_model"),
    "a function of TensorFlow's": layer("Dense", activation=function("write_file", "tensorflow")),
    "a builtin": function("exec"),
    "a class of another module": layer("system", "os"),
    "a module named like Keras": layer("Dense", "keras_evil.layers"),
    "a tool of a layer's module": layer("importlib", "keras.src.layers.layer"),
    "a name that resolves to another": {**layer("Dense"), "registered_name": "Custom>Other"},
    "a class without a module": {"class_name": "Evil", "config": {}},
    "a class that is no name": {"class_name": ["Dense"], "config": {}},
    "a function that is no name": {"class_name": "function", "config": {"a": 1}},
    "a marker of another module": {"class_name": "__numpy__", "module": "os", "config": {}},
    "a type by its module": {"class_name": "__typespec__", "module": "os", "spec_name": "system"},
    "words of a file": layer("StringLookup", vocabulary="/etc/passwd"),
    "weights of a file": layer("TextVectorization", idf_weights="/etc/passwd"),
    "operations that call functions": layer("Map", "keras.src.ops.core"),
}
PLACES = {
    "a layer": lambda found: in_model(found),
    "a wrapped layer": lambda found: in_model(layer("TimeDistributed", layer=found)),
    "an initializer": lambda found: in_model(layer("Dense", kernel_initializer=found)),
    "a list in a list": lambda found: in_model(layer("Dense", kwargs={"a": [[{"b": found}]]})),
    "a nested model's loss": lambda found: in_model(
        {**in_model(layer("Dense")), "compile_config": {"loss": found}}
    ),
    "a build configuration": lambda found: in_model({**layer("Dense"), "build_config": found}),
    "the root": lambda found: found,
}


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
@pytest.mark.parametrize("found", HOSTILE.values(), ids=list(HOSTILE))
def test_whatever_else_a_file_names_is_refused_wherever_it_is(found: Any, place: Any) -> None:
    with pytest.raises(KerasConversionError):
        check_objects(place(found), allowed_objects())
