"""What a SavedModel is: checked, its signatures read, nothing of it run."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.savedmodel.checkpoint_index import DamagedIndex, read_index
from models.savedmodel.folders import GRAPH_FILE, TEXT_GRAPH_FILE
from models.savedmodel.graph_reader import DAMAGED, TOO_LARGE
from models.savedmodel.scan import findings_in
from workspace.platform.errors import Invalid, TooLarge

MAX_GRAPH_BYTES = 2 * 2**30 - 1  # of protocol buffers
MAX_INDEX_BYTES = 32 * 2**20
READ_SECONDS = 90
SERVING_TAG = "serve"
INITIALIZER = "__saved_model_init_op"
NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")  # as JSON has it; PostgreSQL stores none
SHARD = re.compile(r"variables/variables\.data-\d{5}-of-\d{5}", re.ASCII)
NUMPY_NAMES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "resource": "resource",
}


@dataclass(frozen=True)
class SavedModel:
    """What the graph file of a SavedModel says."""

    tensorflow_version: str
    signatures: dict[str, Any]
    scan: list[dict[str, Any]]


def validate(sizes: Mapping[str, int], path_of: Callable[[str], Path]) -> SavedModel:
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
        name: _with_numpy_dtypes(signature)
        for name, signature in graph["signatures"].items()
        if name != INITIALIZER
    }
    if not signatures:
        raise Invalid(
            "The SavedModel has no signature, so it cannot be called. Export it with"
            " model.export(FOLDER), or with tf.saved_model.save(model, FOLDER, signatures=...)."
        )
    return SavedModel(graph["tensorflow_version"], signatures, findings_in(graph, sizes))


def scan(graph_file: Path, sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return what a reader should know of a SavedModel that was checked before."""
    graph = _serving_graph(_read(graph_file, sizes[GRAPH_FILE]))
    return findings_in(graph, sizes)


def may_serve(graph_file: Path) -> bool:
    """Return whether model servers load a graph file; one that cannot be read is still in doubt."""
    try:
        graphs = _read(graph_file, graph_file.stat().st_size)["meta_graphs"]
    except (Invalid, TooLarge):
        return True
    return any(_is_for_serving(graph) for graph in graphs)


def _read(path: Path, size: int) -> dict[str, Any]:
    """Have a graph file read by a process of its own."""
    if size > MAX_GRAPH_BYTES:
        raise TooLarge(f"{GRAPH_FILE} has over 2 GiB, more than TensorFlow can load.")
    reader = Path(__file__).with_name("graph_reader.py")
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
        raise TooLarge(f"{GRAPH_FILE} is too large to inspect.")
    if done.returncode == DAMAGED:
        raise Invalid(f"{GRAPH_FILE} is damaged or not a SavedModel. Export the model again.")
    if done.returncode:
        raise RuntimeError(f"The reader of {GRAPH_FILE} failed: {done.stderr[-2000:]}")
    if NUL.search(done.stdout):
        raise Invalid(f"{GRAPH_FILE} is damaged: a name in it holds a NUL character.")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _serving_graph(found: dict[str, Any]) -> dict[str, Any]:
    """Return the graph that model servers load: the first whose set of tags is exactly {serve}."""
    graphs: list[dict[str, Any]] = found["meta_graphs"]
    if not any(graph["node_count"] for graph in graphs):
        raise Invalid(
            f"{GRAPH_FILE} holds no graph: it is damaged or something else. Export the model again."
        )
    for graph in graphs:
        if _is_for_serving(graph):
            return graph
    tags = sorted({" and ".join(sorted(set(graph["tags"]))) or "nothing" for graph in graphs})
    only = "one" if len(graphs) == 1 else f"{len(graphs)}"
    raise Invalid(
        f"The SavedModel has no graph for serving, only {only} tagged {'; '.join(tags)}. Model"
        f" servers load the graph whose one tag is {SERVING_TAG!r}. Export it with that tag alone:"
        f" by tf.saved_model.save(model, FOLDER), or in TensorFlow 1 by"
        f" builder.add_meta_graph_and_variables(session, [{SERVING_TAG!r}], ...)."
    )


def _is_for_serving(graph: Mapping[str, Any]) -> bool:
    return set(graph["tags"]) == {SERVING_TAG}


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
    if sizes[index] > MAX_INDEX_BYTES:
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
        needed_bytes = found.minimum_bytes.get(number, 0)
        if sizes[name] < needed_bytes:
            raise Invalid(
                f"The SavedModel is incomplete: {name} has {sizes[name]:,} bytes of at least"
                f" {needed_bytes:,}, so the export or the upload was cut short."
            )


def _with_numpy_dtypes(signature: dict[str, Any]) -> dict[str, Any]:
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
