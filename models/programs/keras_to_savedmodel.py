"""A program that turns a .keras or .h5 file into a SavedModel.

It runs in an environment with TensorFlow, away from everything else, and imports nothing of the
checkout: `python -I keras_to_savedmodel.py INPUT OUTPUT`. INPUT holds the file and job.json with
`filename` and `allows_code`; OUTPUT gets model/ and result.json, or there an `error` in words.

Code may hide in such a file: a Lambda layer holds a function as bytecode, and any object may name a
class or function of any module. So its configuration is read before Keras sees it.
"""

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
H5_SUFFIXES = (".h5", ".hdf5")
LARGEST_CONFIG = 256 * 2**20
OWN_MODULES = ("keras", "tf_keras", "tensorflow", "builtins")
CODE = {"Lambda", "__lambda__"}


class Refused(Exception):
    """The file cannot be converted; the text is for the person who brought it."""


def main(source: Path, target: Path) -> None:
    job = json.loads((source / "job.json").read_text())
    try:
        result = _convert(source / job["filename"], target / "model", job["allows_code"])
    except Refused as error:
        result = {"error": str(error)}
    (target / "result.json").write_text(json.dumps(result))


def _convert(file: Path, folder: Path, allows_code: bool) -> dict[str, Any]:
    is_h5 = _is_h5(file)
    version, config = _read_h5(file) if is_h5 else _read_keras(file)
    print(f"{file.name} was saved with Keras {version or 'of an unknown version'}.", flush=True)
    if not allows_code:
        _refuse_code(config)
    keras = _keras_for(version)
    print(f"Keras {keras.__version__} loads it.", flush=True)
    options = (
        {"safe_mode": not allows_code} if not is_h5 or _generation(keras.__version__) > 2 else {}
    )
    try:
        model = keras.models.load_model(str(file), compile=False, **options)
    except Exception as error:
        raise Refused(f"Keras {keras.__version__} cannot load it: {_in_short(error)}") from error
    if not getattr(model, "built", True):
        raise Refused("The model was saved before it was built: call it once, and save it again.")
    try:
        model.export(str(folder))
    except Exception as error:
        raise Refused(f"It loads, but cannot be exported: {_in_short(error)}") from error
    return {"keras_version": version, "loaded_by": keras.__version__}


def _is_h5(file: Path) -> bool:
    """Tell a kind by the name, as Keras does: a file may be of both kinds at once."""
    if file.name.endswith(H5_SUFFIXES):
        return True
    if not file.name.endswith(".keras"):
        raise Refused("Its name ends neither in .keras nor in .h5: rename it to what it is.")
    if not zipfile.is_zipfile(file):
        raise Refused(
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
                raise Refused(f"It is no .keras file, or a broken one: {lost[0]} is missing in it.")
            if members[CONFIG].file_size > LARGEST_CONFIG:
                raise Refused("Its configuration is far larger than that of any model.")
            metadata = json.loads(archive.read(METADATA))
            return str(metadata.get("keras_version", "")), json.loads(archive.read(CONFIG))
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise Refused(f"The .keras file is damaged: {_in_short(error)}") from error


def _read_h5(file: Path) -> tuple[str, Any]:
    import h5py

    try:
        with h5py.File(file, "r") as archive:
            config, version = archive.attrs.get("model_config"), archive.attrs.get("keras_version")
    except OSError as error:
        raise Refused(f"It is no HDF5 file, or a damaged one: {_in_short(error)}") from error
    if config is None:
        raise Refused(
            "The HDF5 file holds weights only, and no model. Load them into the model, and save"
            " that with model.save('model.keras')."
        )
    return _text(version or ""), json.loads(_text(config))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _refuse_code(config: Any) -> None:
    for found in _objects_in(config):
        name = found.get("class_name")
        if name in CODE:
            layer = (found.get("config") or {}) if isinstance(found.get("config"), dict) else {}
            called = f" ({layer['name']})" if isinstance(layer.get("name"), str) else ""
            raise Refused(
                f"It has a Lambda layer{called}, whose Python code would run here. If you trust"
                " whoever made the file, allow code and bring it again; better, make it a layer"
                " class of its own, or export the model as a SavedModel where it was made."
            )
        module = found.get("module")
        if isinstance(module, str) and module.split(".")[0] not in OWN_MODULES:
            raise Refused(
                f"It needs {name} of the module {module}, which is not part of Keras. Export the"
                " model as a SavedModel where that is installed, with model.export(FOLDER)."
            )


def _objects_in(config: Any) -> Iterator[dict[str, Any]]:
    waiting = [config]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if "class_name" in found:
                yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _keras_for(version: str) -> Any:
    """Give the Keras that reads a file; TensorFlow from 2.16 on has the old one as tf_keras."""
    import keras
    import tensorflow as tf

    ours = _generation(keras.__version__)
    wanted = _generation(version) or ours
    if wanted == ours:
        return keras
    if wanted < ours:
        import tf_keras

        return tf_keras
    raise Refused(
        f"It was saved with Keras {version}, which TensorFlow {tf.__version__} cannot read. Choose"
        " a newer TensorFlow version to bring it with."
    )


def _generation(version: str) -> int:
    """Give 2 for 2.15.0, and 0 where there is no version."""
    first = version.split(".")[0]
    return int(first) if first.isdecimal() else 0


def _in_short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (" ".join(lines) or type(error).__name__)[:600]


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
