"""A program that turns a .keras or .h5 file into a SavedModel.

It runs in an environment with TensorFlow, away from everything else, and imports nothing of the
checkout: `python -I keras_to_savedmodel.py INPUT OUTPUT`. INPUT holds the file and job.json with
`filename`, `allows_code` and what is `allowed` without; OUTPUT gets model/ and result.json, or an
`error` in words in the latter.

Code may hide in such a file: a Lambda layer holds a function as bytecode, and any object may name a
class or function of any module. So its configuration is read before Keras sees it.
"""

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any, NoReturn

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
H5_SUFFIXES = (".h5", ".hdf5")
MAX_CONFIG_BYTES = 256 * 2**20
OWN_MODULES = ("keras", "tf_keras")
CODE = {"Lambda", "__lambda__"}
# Values that Keras writes in the way of objects.
MARKERS = {
    *("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"),
    *("__tuple__", "TensorShape", "TypeSpec"),
}
FAMILIES = {
    *("activations", "constraints", "dtype_policies", "initializers", "layers", "losses"),
    *("metrics", "mixed_precision", "models", "ops", "optimizers", "quantizers", "regularizers"),
}
FUNCTION_FAMILIES = {"activations", "losses", "metrics"}
TENSOR_LAYERS = {"TFOpLambda", "SlicingOpLambda"}  # they name an operation of TensorFlow's
FILE_KEYS = {"vocabulary", "idf_weights"}


class KerasConversionError(Exception):
    """The file cannot be converted; the text is for the person who brought it."""


def main(source: Path, target: Path) -> None:
    job = json.loads((source / "job.json").read_text())
    try:
        result = _convert(
            source / job["filename"], target / "model", job["allows_code"], job["allowed"]
        )
    except KerasConversionError as error:
        result = {"error": str(error)}
    (target / "result.json").write_text(json.dumps(result))


def _convert(
    file: Path, folder: Path, allows_code: bool, allowed: dict[str, Any]
) -> dict[str, Any]:
    is_h5 = _is_h5(file)
    version, config = _read_h5(file) if is_h5 else _read_keras(file)
    print(f"{file.name} was saved with Keras {version or 'of an unknown version'}.", flush=True)
    if not allows_code:
        check_objects(config, allowed)
    keras = _keras_for(version)
    print(f"Keras {keras.__version__} loads it.", flush=True)
    options = (
        {"safe_mode": not allows_code} if not is_h5 or _generation(keras.__version__) > 2 else {}
    )
    try:
        model = keras.models.load_model(str(file), compile=False, **options)
    except Exception as error:
        raise KerasConversionError(
            f"Keras {keras.__version__} cannot load it: {_one_line(error)}"
        ) from error
    if not getattr(model, "built", True):
        raise KerasConversionError(
            "The model was saved before it was built: call it once, and save it again."
        )
    try:
        model.export(str(folder))
    except Exception as error:
        raise KerasConversionError(
            f"It loads, but cannot be exported: {_one_line(error)}"
        ) from error
    return {"keras_version": version, "loaded_by": keras.__version__}


def _is_h5(file: Path) -> bool:
    """Tell a kind by the name, as Keras does: a file may be of both kinds at once."""
    if file.name.endswith(H5_SUFFIXES):
        return True
    if not file.name.endswith(".keras"):
        raise KerasConversionError(
            "Its name ends neither in .keras nor in .h5: rename it to what it is."
        )
    if not zipfile.is_zipfile(file):
        raise KerasConversionError(
            "It is named as a .keras file, but is no zip archive: it is damaged, or an .h5 file by"
            " another name."
        )
    return False


def _read_keras(file: Path) -> tuple[str, Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
            lost = [name for name in (CONFIG, METADATA, WEIGHTS) if name not in members]
            if lost:
                raise KerasConversionError(
                    f"It is no .keras file, or a broken one: {lost[0]} is missing in it."
                )
            if members[CONFIG].file_size > MAX_CONFIG_BYTES:
                raise KerasConversionError(
                    "Its configuration is far larger than that of any model."
                )
            metadata = json.loads(archive.read(METADATA))
            return str(metadata.get("keras_version", "")), json.loads(archive.read(CONFIG))
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise KerasConversionError(f"The .keras file is damaged: {_one_line(error)}") from error


def _read_h5(file: Path) -> tuple[str, Any]:
    import h5py

    try:
        with h5py.File(file, "r") as archive:
            config, version = archive.attrs.get("model_config"), archive.attrs.get("keras_version")
    except OSError as error:
        raise KerasConversionError(
            f"It is no HDF5 file, or a damaged one: {_one_line(error)}"
        ) from error
    if config is None:
        raise KerasConversionError(
            "The HDF5 file holds weights only, and no model. Load them into the model, and save"
            " that with model.save('model.keras')."
        )
    return _text(version or ""), json.loads(_text(config))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def check_objects(config: Any, allowed: dict[str, Any]) -> None:
    """Refuse a configuration that names anything but what is allowed, at whatever depth.

    Only what `load_model(compile=False)` reads: how the model itself was compiled is not.
    """
    if isinstance(config, dict):
        config = {key: value for key, value in config.items() if key != "compile_config"}
    waiting = [config]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            _check_object(found, allowed)
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _check_object(found: dict[str, Any], allowed: dict[str, Any]) -> None:
    for key, value in found.items():
        if not isinstance(value, str):
            continue
        if key in FILE_KEYS:
            raise KerasConversionError(
                f"It would read a file of the machine that loads it ({key}: {value[:100]}). Make"
                " the model with the words themselves instead of a path, and save it again."
            )
        if key.endswith("activation") and value not in allowed["functions"]:
            _refuse(value, "")
    if "class_name" not in found:
        return
    name, module, config = found["class_name"], found.get("module"), found.get("config")
    if not isinstance(name, str) or not isinstance(module, str | None):
        _refuse(str(name), "")
    if name in CODE:
        layer = config if isinstance(config, dict) else {}
        its_name = f" ({layer['name']})" if isinstance(layer.get("name"), str) else ""
        raise KerasConversionError(
            f"It has a Lambda layer{its_name}, whose Python code would run here. If you trust"
            " whoever made the file, allow code and bring it again; better, make it a layer"
            " class of its own, or export the model as a SavedModel where it was made."
        )
    if name in MARKERS and module in (None, "builtins"):
        return
    called: Any = name
    families = FAMILIES if module is None else _families(module)
    if name == "function":
        called, is_known = config, module == "builtins" or bool(families & FUNCTION_FAMILIES)
        known = set(allowed["functions"]) if is_known else set()
    else:
        known = {each for family in families for each in allowed["classes"].get(family, ())}
    registered = found.get("registered_name")
    is_itself = registered is None or registered in (name, called)
    if not isinstance(called, str) or called not in known or not is_itself:
        _refuse(str(called), module or "", str(registered or ""))
    if name in TENSOR_LAYERS:
        _check_tensor_function(config, allowed)


def _families(module: str) -> set[str]:
    """Return which parts of Keras a module may be of: none for the modules of others."""
    root, *parts = module.split(".")
    if root not in OWN_MODULES:
        return set()
    return set(next(([part] for part in parts if part in FAMILIES), FAMILIES))


def _check_tensor_function(config: Any, allowed: dict[str, Any]) -> None:
    called = config.get("function") if isinstance(config, dict) else None
    module, _, name = str(called).rpartition(".")
    is_known = name in allowed["tensor_functions"] if not module else False
    if not (is_known or module in allowed["tensor_modules"]):
        _refuse(str(called), "tensorflow")


def _refuse(name: str, module: str, registered: str = "") -> NoReturn:
    root = module.split(".")[0]
    if module and root not in (*OWN_MODULES, "builtins", "tensorflow"):
        raise KerasConversionError(
            f"It needs {name} of the module {module}, which is not part of Keras. Export the"
            " model as a SavedModel where that is installed, with model.export(FOLDER)."
        )
    called = f"{name} ({registered})" if registered not in ("", name) else name
    where = f" of {module}" if module else ""
    raise KerasConversionError(
        f"It names {called[:200]}{where}, which is not among the layers and functions that are"
        " known to compute and do nothing else. Export the model as a SavedModel where it was"
        " made, with model.export(FOLDER); or, if you trust whoever made the file, allow code and"
        " bring it again."
    )


def _keras_for(version: str) -> Any:
    """Return the Keras that reads a file; TensorFlow from 2.16 on has the old one as tf_keras."""
    import keras
    import tensorflow as tf

    ours = _generation(keras.__version__)
    wanted = _generation(version) or ours
    if wanted == ours:
        return keras
    if wanted < ours:
        import tf_keras

        return tf_keras
    raise KerasConversionError(
        f"It was saved with Keras {version}, which TensorFlow {tf.__version__} cannot read. Choose"
        " a newer TensorFlow version to bring it with."
    )


def _generation(version: str) -> int:
    """Return 2 for 2.15.0, and 0 where there is no version."""
    first = version.split(".")[0]
    return int(first) if first.isdecimal() else 0


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (" ".join(lines) or type(error).__name__)[:600]


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
