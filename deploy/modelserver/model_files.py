"""What a version's files tell about it before TensorFlow takes them into memory."""

from pathlib import Path
from typing import Any

from .errors import Code, ServingError
from .memory import gibibytes, memory_left

LARGEST_MESSAGE = 2**31 - 1
VARIABLES = Path("variables")
INDEX = VARIABLES / "variables.index"
VARIABLE_OPS = ("VarHandleOp", "Variable", "VariableV2")


def check_graph_file(path: Path) -> None:
    """Refuse a directory without a graph that can be read."""
    files = [path / name for name in ("saved_model.pb", "saved_model.pbtxt")]
    sizes = [file.stat().st_size for file in files if file.is_file()]
    if not sizes:
        raise ServingError(
            Code.NOT_FOUND,
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}."
            " Check that the directory is a whole SavedModel",
        )
    if sizes[0] > LARGEST_MESSAGE:
        raise ServingError(
            Code.DATA_LOSS,
            f"Could not load the SavedModel at {path}: its graph is {gibibytes(sizes[0])} large,"
            " and no graph is larger than 2 GiB. Export the model again",
        )


def check_memory(path: Path, left: int | None = None) -> None:
    """Refuse variables that are larger than the memory that is left."""
    needed = sum(file.stat().st_size for file in (path / VARIABLES).glob("variables.data-*"))
    left = memory_left() if left is None else left
    if left is not None and needed > left:
        raise ServingError(
            Code.RESOURCE_EXHAUSTED,
            f"Could not load the SavedModel at {path}: its variables take {gibibytes(needed)} of"
            f" memory and {gibibytes(left)} are left. Give the server more memory or serve fewer"
            " models",
        )


def check_variables(path: Path, meta_graph: Any) -> None:
    """Refuse a graph whose variables were left behind; TensorFlow itself would leave them empty."""
    if (path / INDEX).is_file() or not meta_graph.saver_def.restore_op_name:
        return
    names = sorted(node.name for node in meta_graph.graph_def.node if node.op in VARIABLE_OPS)
    if names:
        raise ServingError(
            Code.NOT_FOUND,
            f"Could not load the SavedModel at {path}: its graph has {len(names)} variables"
            f" ({names[0]}), but {INDEX} is missing. Copy the whole directory",
        )
