"""What a version's files tell about it before TensorFlow takes them into memory."""

from pathlib import Path

from ..errors import Code, ServingError
from ..memory import format_bytes

LARGEST_MESSAGE = 2**31 - 1
GRAPH = "saved_model.pb"
VARIABLES = Path("variables")
INDEX = VARIABLES / "variables.index"
VARIABLE_OPS = ("VarHandleOp", "Variable", "VariableV2")


def check_graph_file(path: Path) -> None:
    """Refuse a directory without a graph that can be read."""
    files = [path / name for name in (GRAPH, "saved_model.pbtxt")]
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
            f"Could not load the SavedModel at {path}: its graph is {format_bytes(sizes[0])} large,"
            " and no graph is larger than 2 GiB. Export the model again",
        )


def size_of_variables(path: Path) -> int:
    """Return the bytes that the variables take."""
    return sum(file.stat().st_size for file in (path / VARIABLES).glob("variables.data-*"))


def check_memory(path: Path, needed: int, room: int | None) -> None:
    """Refuse variables that are larger than the room there is for them."""
    if room is not None and needed > room:
        raise ServingError(
            Code.RESOURCE_EXHAUSTED,
            f"Could not load the SavedModel at {path}: its variables take {format_bytes(needed)} of"
            f" memory and {format_bytes(room)} are left. Give the server more memory or serve fewer"
            " models",
        )


def check_variables(path: Path) -> None:
    """Refuse a graph whose variables were left behind."""
    if (path / INDEX).is_file():
        return
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        saved_model = saved_model_pb2.SavedModel.FromString((path / GRAPH).read_bytes())
    except (OSError, DecodeError):
        return  # A graph in text, or one that TensorFlow will say more about.
    names = sorted(
        node.name
        for meta_graph in saved_model.meta_graphs
        if meta_graph.saver_def.restore_op_name
        for node in meta_graph.graph_def.node
        if node.op in VARIABLE_OPS
    )
    if names:
        raise ServingError(
            Code.NOT_FOUND,
            f"Could not load the SavedModel at {path}: its graph has variables ({names[0]}), but"
            f" {INDEX} is missing. Copy the whole directory",
        )
