"""What a SavedModel is: found among files, checked, its signatures read, nothing of it run."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from models.checkpoint_index import DamagedIndex, read_index
from models.savedmodel_reader import DAMAGED, TOO_LARGE
from models.scan import findings_of
from workspace.errors import Invalid, TooLarge

GRAPH_FILE = "saved_model.pb"
TEXT_GRAPH_FILE = "saved_model.pbtxt"
LARGEST_GRAPH = 2 * 2**30 - 1  # of protocol buffers
LARGEST_INDEX = 32 * 2**20
READ_SECONDS = 90
INITIALIZER = "__saved_model_init_op"
SHARD = re.compile(r"variables/variables\.data-\d{5}-of-\d{5}", re.ASCII)
NUMPY_NAMES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "resource": "resource",
}
HDF5_SUFFIXES = (".h5", ".hdf5")
EXPORT = "Export it with model.export(FOLDER) in Keras 3, or tf.saved_model.save(model, FOLDER)"
OTHER_FORMATS = {
    ".keras": "a Keras archive. Send that file itself, not packed into another, and it is"
    " converted; or name it as the path where it is an output of a run.",
    ".h5": "a Keras HDF5 file. Send that file itself, not packed into another, and it is converted;"
    " or name it as the path where it is an output of a run.",
    ".hdf5": "a Keras HDF5 file. Send that file itself, not packed into another, and it is"
    " converted; or name it as the path where it is an output of a run.",
    ".tflite": "a TensorFlow Lite model, which cannot be turned back. Register the SavedModel that"
    " it was converted from.",
    ".pkl": "a Python pickle, which runs code when it is read. Only SavedModels can be registered.",
    ".joblib": "a Python pickle, which runs code when it is read. Only SavedModels can be"
    " registered.",
    ".onnx": "an ONNX model. Only SavedModels can be registered.",
    ".pt": "a PyTorch file. Only SavedModels can be registered.",
    ".pth": "a PyTorch file. Only SavedModels can be registered.",
    ".index": "a checkpoint: variables without a graph. Build the model, load the checkpoint into"
    f" it. {EXPORT}, and register that folder.",
    ".pb": f"a frozen graph or another protocol buffer; a SavedModel's graph is {GRAPH_FILE}."
    f" {EXPORT}, and register that folder.",
}


@dataclass(frozen=True)
class SavedModel:
    """What the graph file of a SavedModel says."""

    tensorflow_version: str
    signatures: dict[str, Any]
    scan: list[dict[str, Any]]


def is_keras_file(path: str) -> bool:
    """Tell by its name whether a file is one that is converted to a SavedModel."""
    return path.lower().endswith((".keras", *HDF5_SUFFIXES))


def folders_of(paths: Iterable[str]) -> list[str]:
    """Give the folders that hold a SavedModel, each as a path; '' is the root."""
    return sorted(
        str(PurePosixPath(path).parent).removeprefix(".")
        for path in paths
        if PurePosixPath(path).name in (GRAPH_FILE, TEXT_GRAPH_FILE)
    )


def choose_folder(paths: Iterable[str], within: str = "") -> str:
    """Give the folder of the one SavedModel at or below `within`.

    Of a folder of numbered exports, the highest number is meant. Raises Invalid in words.
    """
    paths = list(paths)
    below = [path for path in paths if not within or path.startswith(f"{within}/")]
    if not below:
        raise Invalid(f"There is no folder {within!r} with files in it.")
    folders = folders_of(below)
    if within in folders:
        return within
    if not folders:
        raise Invalid(_what_it_is_instead(below, within))
    parents = {_parent(folder) for folder in folders}
    if len(parents) == 1 and all(_last(folder).isdecimal() for folder in folders):
        return max(folders, key=lambda folder: int(_last(folder)))
    if len(folders) > 1:
        raise Invalid(
            f"There are {len(folders)} SavedModels: {', '.join(folders[:10])}. Name one of them as"
            " the path."
        )
    return folders[0]


def _parent(folder: str) -> str:
    return folder.rpartition("/")[0]


def _last(folder: str) -> str:
    return folder.rpartition("/")[2]


def _what_it_is_instead(paths: list[str], within: str) -> str:
    where = f"In {within!r} there" if within else "There"
    for path in paths:
        hint = OTHER_FORMATS.get(PurePosixPath(path).suffix.lower())
        if hint and "variables/" not in path:
            return f"{where} is no SavedModel. {PurePosixPath(path).name} is {hint}"
    return (
        f"{where} is no SavedModel: a folder with {GRAPH_FILE} and variables/. {EXPORT}, and"
        " register that folder."
    )


def check(sizes: Mapping[str, int], path_of: Callable[[str], Path]) -> SavedModel:
    """Read a SavedModel, given its files' sizes by path in its folder, and where each is.

    Raises Invalid when it is damaged, incomplete or cannot be called.
    """
    if GRAPH_FILE not in sizes:
        raise Invalid(
            f"The SavedModel is in text form ({TEXT_GRAPH_FILE}). Save it as {GRAPH_FILE}, as"
            " tf.saved_model.save does."
        )
    if sizes[GRAPH_FILE] == 0:
        raise Invalid(f"{GRAPH_FILE} is empty: the export or the upload was cut short.")
    graph = _serving_graph(_read(path_of(GRAPH_FILE), sizes[GRAPH_FILE]))
    _check_variables(sizes, path_of, needed=graph["has_variables"])
    lost = [name for name in graph["assets"] if f"assets/{name}" not in sizes]
    if lost:
        raise Invalid(f"The SavedModel is incomplete: assets/{lost[0]} is missing.")
    signatures = {
        name: _in_numpy_words(signature)
        for name, signature in graph["signatures"].items()
        if name != INITIALIZER
    }
    if not signatures:
        raise Invalid(
            "The SavedModel has no signature, so nothing in it can be called. Export it with"
            " model.export(FOLDER), or with tf.saved_model.save(model, FOLDER, signatures=...)."
        )
    return SavedModel(graph["tensorflow_version"], signatures, findings_of(graph, sizes))


def scan(graph_file: Path, sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Give what a reader should know of a SavedModel that was checked before."""
    graph = _serving_graph(_read(graph_file, sizes[GRAPH_FILE]))
    return findings_of(graph, sizes)


def _read(path: Path, size: int) -> dict[str, Any]:
    """Have a graph file read by a process of its own."""
    if size > LARGEST_GRAPH:
        raise TooLarge(f"{GRAPH_FILE} has over 2 GiB, more than TensorFlow can load.")
    reader = Path(__file__).with_name("savedmodel_reader.py")
    try:
        done = subprocess.run(  # noqa: S603 (our own program, no shell)
            [sys.executable, "-I", str(reader), str(path)],
            capture_output=True,
            text=True,
            timeout=READ_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Invalid(f"{GRAPH_FILE} could not be read within {READ_SECONDS} s.") from None
    if done.returncode == TOO_LARGE or done.returncode < 0:
        raise TooLarge(f"{GRAPH_FILE} needs too much memory or time to be read, or tells too much.")
    if done.returncode == DAMAGED:
        raise Invalid(
            f"{GRAPH_FILE} is damaged or no SavedModel: it cannot be read. Export the model again."
        )
    if done.returncode:
        raise RuntimeError(f"The reader of {GRAPH_FILE} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _serving_graph(found: dict[str, Any]) -> dict[str, Any]:
    graphs: list[dict[str, Any]] = found["meta_graphs"]
    if not graphs or not any(graph["node_count"] for graph in graphs):
        raise Invalid(
            f"{GRAPH_FILE} holds no graph: it is damaged or something else. Export the model again."
        )
    for graph in graphs:
        if "serve" in graph["tags"]:
            return graph
    tags = " and ".join(sorted({tag for graph in graphs for tag in graph["tags"]})) or "no tag"
    raise Invalid(
        f"The SavedModel has no graph for serving, only one tagged {tags}. Export it with the tag"
        " 'serve', as tf.saved_model.save does."
    )


def _check_variables(
    sizes: Mapping[str, int], path_of: Callable[[str], Path], *, needed: bool
) -> None:
    has_shards = any(SHARD.fullmatch(path) for path in sizes)
    index = "variables/variables.index"
    if index not in sizes:
        if needed or has_shards:
            raise Invalid(
                f"The SavedModel is incomplete: {index} is missing, so its variables cannot be"
                " loaded. Register the whole folder that the export wrote."
            )
        return
    if sizes[index] > LARGEST_INDEX:
        raise TooLarge(f"{index} is far larger than that of any model.")
    try:
        found = read_index(path_of(index).read_bytes())
    except DamagedIndex as error:
        raise Invalid(
            f"{index} is damaged or cut short. Export the model again. ({error})"
        ) from None
    for number in range(found.shard_count):
        name = f"variables/variables.data-{number:05}-of-{found.shard_count:05}"
        if name not in sizes:
            raise Invalid(f"The SavedModel is incomplete: {name} is missing.")
        needed_bytes = found.least_bytes.get(number, 0)
        if sizes[name] < needed_bytes:
            raise Invalid(
                f"The SavedModel is incomplete: {name} has {sizes[name]:,} bytes of at least"
                f" {needed_bytes:,}, so the export or the upload was cut short."
            )


def _in_numpy_words(signature: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": signature["method"],
        **{
            side: {
                name: {**tensor, "dtype": NUMPY_NAMES.get(tensor["dtype"], tensor["dtype"])}
                for name, tensor in signature[side].items()
            }
            for side in ("inputs", "outputs")
        },
    }
