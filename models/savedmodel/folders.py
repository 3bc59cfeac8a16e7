"""Where SavedModels are among files, and which of them a path means, as for TensorFlow Serving."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from workspace.platform.errors import Invalid

GRAPH_FILE = "saved_model.pb"
TEXT_GRAPH_FILE = "saved_model.pbtxt"
MAX_LISTED = 10
MAX_VERSION = 2**63 - 1
VERSION_FOLDER = re.compile(r"\d{1,100}", re.ASCII)
UNFINISHED_FOLDER = re.compile(r"temp-\d+", re.ASCII)  # as tf.estimator names it until it is done
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
    ".cpb": "a graph in chunks, which only TensorFlow in Python reads. Export the model again with"
    " a graph under 2 GiB.",
    ".pb": f"a frozen graph or another protocol buffer; a SavedModel's graph is {GRAPH_FILE}."
    f" {EXPORT}, and register that folder.",
}


@dataclass(frozen=True)
class CandidateFolder:
    """A SavedModel that a path may mean.

    `name` is what it is named by: its folder, or the folder whose newest version it is.
    """

    name: str
    folder: str

    def __str__(self) -> str:
        if self.name == self.folder:
            return self.name
        return f"{self.name or '.'} (newest: {_last(self.folder)})"

    @property
    def graph_file(self) -> str:
        return _joined(self.folder, GRAPH_FILE)


def is_keras_file(path: str) -> bool:
    """Tell by its name whether a file is one that is converted to a SavedModel."""
    return path.lower().endswith((".keras", *HDF5_SUFFIXES))


def folders_of(paths: Iterable[str]) -> list[str]:
    """Return the folders of the SavedModels that are whole, '' for the root; newer numbers last."""
    return _sorted(folder for folder in _graph_folders(paths) if not _is_unfinished(folder))


def candidates(paths: Iterable[str], within: str = "") -> list[CandidateFolder]:
    """Return the SavedModels that a path may mean: itself, its newest version, or several below it.

    Where a folder has SavedModels named by whole numbers, they are its versions, and what lies
    beside them is none. Raises Invalid where there is no SavedModel.
    """
    below = [path for path in paths if not within or path.startswith(f"{within}/")]
    if not below:
        raise Invalid(f"There is no folder {within!r} with files in it.")
    found = _graph_folders(below)
    if within in found:
        return [CandidateFolder(within, within)]
    whole = {folder for folder in found if not _is_unfinished(folder.removeprefix(within))}
    if not whole:
        raise Invalid(_explain_unfinished(found) if found else _explain_other_format(below, within))
    versions: dict[str, list[str]] = {}
    for folder in _sorted(whole):
        if _version(folder) is not None:
            versions.setdefault(_parent(folder), []).append(folder)
    names = {_first_of(folder, within, whole | versions.keys()) for folder in whole}
    return [
        CandidateFolder(name, name if name in whole else versions[name][-1])
        for name in _sorted(names)
    ]


def choose(found: list[CandidateFolder], paths: Iterable[str]) -> str:
    """Return the folder of the one candidate. Raises Invalid where a person has to choose."""
    if len(found) > 1:
        listed = "\n".join(str(candidate) for candidate in found[:MAX_LISTED])
        more = f"\nand {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
        raise Invalid(
            f"There are {len(found)} SavedModels. Name one of them as the path:\n{listed}{more}"
        )
    [chosen] = found
    if chosen.name != chosen.folder:
        _check_newest(chosen, paths)
    return chosen.folder


def _check_newest(chosen: CandidateFolder, paths: Iterable[str]) -> None:
    """Refuse a version where a model server would load a newer folder, and fail."""
    start = f"{chosen.name}/" if chosen.name else ""
    names = (path.removeprefix(start) for path in paths if path.startswith(start))
    folders = {start + name.partition("/")[0] for name in names if "/" in name}
    newest = max(
        (folder for folder in folders if _version(folder) is not None),
        key=lambda folder: _version(folder) or 0,
    )
    if (_version(newest) or 0) > (_version(chosen.folder) or 0):
        raise Invalid(
            f"{newest} has the highest number, so a model server takes it for the newest version,"
            f" but it is not a SavedModel: the export or the upload was cut short. Export it again,"
            f" or name {chosen.folder} as the path."
        )


def _graph_folders(paths: Iterable[str]) -> set[str]:
    """Return the folders with a graph file that are not inside another such folder."""
    found = {
        str(PurePosixPath(path).parent).removeprefix(".")
        for path in paths
        if PurePosixPath(path).name in (GRAPH_FILE, TEXT_GRAPH_FILE)
    }
    return {folder for folder in found if _first_of(folder, "", found) == folder}


def _first_of(folder: str, within: str, known: set[str]) -> str:
    """Return the outermost known folder that is a folder, or holds it, at or below `within`."""
    found = folder
    while folder != within:
        folder = _parent(folder)
        if folder in known:
            found = folder
    return found


def _version(folder: str) -> int | None:
    """Return the number of a version that a folder has as its name, as TensorFlow Serving does."""
    name = _last(folder)
    number = int(name) if VERSION_FOLDER.fullmatch(name) else None
    return number if number is not None and number <= MAX_VERSION else None


def _sorted(folders: Iterable[str]) -> list[str]:
    """Sort folders by name, and those that differ in a number by it."""
    return sorted(folders, key=lambda folder: (_parent(folder), _version(folder) or -1, folder))


def _is_unfinished(folder: str) -> bool:
    return any(UNFINISHED_FOLDER.fullmatch(part) for part in folder.split("/"))


def _parent(folder: str) -> str:
    return folder.rpartition("/")[0]


def _last(folder: str) -> str:
    return folder.rpartition("/")[2]


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _explain_unfinished(folders: Iterable[str]) -> str:
    listed = ", ".join(_sorted(folders)[:MAX_LISTED])
    return f"There is only an export that was cut short: {listed}. Export the model again."


def _explain_other_format(paths: list[str], within: str) -> str:
    where = f"In {within!r} there" if within else "There"
    for path in paths:
        hint = OTHER_FORMATS.get(PurePosixPath(path).suffix.lower())
        if hint and "variables/" not in path:
            return f"{where} is not a SavedModel. {PurePosixPath(path).name} is {hint}"
    return (
        f"{where} is not a SavedModel: a folder with {GRAPH_FILE} and variables/. {EXPORT}, and"
        " register that folder."
    )
