"""Write SavedModels as TensorFlow does, without TensorFlow."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto import meta_graph_pb2, types_pb2

from models.savedmodel.checkpoint_index import FOOTER, MAGIC
from models.savedmodel.graph_reader import _saved_model_class
from runs.files.folders import run_folder
from runs.models import Run, RunFile
from tests.factories import make_group

WEIGHTS = b"weights"


def graph_file(
    *,
    tags: tuple[str, ...] = ("serve",),
    inputs: Mapping[str, tuple[int, list[int] | None]] | None = None,
    has_signature: bool = True,
    has_variables: bool = True,
    assets: tuple[str, ...] = (),
    version: str = "2.21.0",
    ops: tuple[str, ...] = (),
    idle_ops: tuple[str, ...] = (),
    signature_name: str = "serving_default",
) -> bytes:
    """Return the bytes of a saved_model.pb with one graph; joined, such bytes hold several.

    `ops` are in a function that the signature calls, `idle_ops` in one that nothing does.
    """
    saved_model = _saved_model_class()(saved_model_schema_version=1)
    graph = saved_model.meta_graphs.add()
    graph.meta_info_def.tags.extend(tags)
    graph.meta_info_def.tensorflow_version = version
    graph.graph_def.node.add(name="x", op="Placeholder")
    if has_variables:
        graph.graph_def.node.add(name="w", op="VarHandleOp")
    for function, names in (("answer", ops), ("idle", idle_ops)):
        made = graph.graph_def.library.function.add()
        made.signature.name = function
        for number, op in enumerate(names):
            made.node_def.add(name=f"n{number}", op=op)
    call = graph.graph_def.node.add(name="y", op="StatefulPartitionedCall", input=["x"])
    call.attr["f"].func.name = "answer"
    for name in assets:
        graph.asset_file_def.add(filename=name)
    graph.signature_def["__saved_model_init_op"].CopyFrom(meta_graph_pb2.SignatureDef())
    if has_signature:
        signature = graph.signature_def[signature_name]
        signature.method_name = "tensorflow/serving/predict"
        for name, (dtype, shape) in (inputs or {"x": (types_pb2.DT_FLOAT, [-1, 4])}).items():
            _describe(signature.inputs[name], dtype, shape)
        signature.outputs["y"].name = "y:0"
        _describe(signature.outputs["y"], types_pb2.DT_FLOAT, [-1, 1])
    content: bytes = saved_model.SerializeToString()
    return content


def _describe(tensor: Any, dtype: int, shape: list[int] | None) -> None:
    tensor.dtype = dtype
    if shape is None:
        tensor.tensor_shape.unknown_rank = True
    else:
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)


def index_file(*sizes: int) -> bytes:
    """Return the bytes of a checkpoint's index whose shards need so many bytes each."""
    header = _field(1, len(sizes))
    entries = [(b"", header)] + [
        (f"v{shard}".encode(), _field(3, shard) + _field(5, size))
        for shard, size in enumerate(sizes)
    ]
    data = _block(entries)
    return _index_of(data)


def index_of_block(entries: list[tuple[bytes, bytes]], *, times: int = 1) -> bytes:
    """Return the bytes of an index that lists one block of entries, once or more often."""
    return _index_of(_block(entries), times)


def _index_of(data: bytes, times: int = 1) -> bytes:
    listing = _block([(b"w", _varint(0) + _varint(len(data)))] * times)
    meta = _block([])
    handles = b"".join(
        _varint(number)
        for number in (
            len(data) + 5 + len(listing) + 5,
            len(meta),
            len(data) + 5,
            len(listing),
        )
    )
    blocks = b"".join(block + bytes(5) for block in (data, listing, meta))
    return blocks + handles.ljust(FOOTER - len(MAGIC), b"\0") + MAGIC


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    content = b"".join(
        _varint(0) + _varint(len(key)) + _varint(len(value)) + key + value for key, value in entries
    )
    return content + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def _field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    written = b""
    while value > 127:
        written += bytes([value & 127 | 128])
        value >>= 7
    return written + bytes([value])


def model_files(folder: str = "", **graph: Any) -> dict[str, bytes]:
    """Return the files of a whole SavedModel by path."""
    top = f"{folder}/" if folder else ""
    return {
        f"{top}saved_model.pb": graph_file(**graph),
        f"{top}variables/variables.index": index_file(len(WEIGHTS)),
        f"{top}variables/variables.data-00000-of-00001": WEIGHTS,
    }


def as_zip(files: Mapping[str, bytes]) -> io.BytesIO:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    packed.seek(0)
    return packed


def as_tar_gz(files: Mapping[str, bytes]) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    packed.seek(0)
    return packed


def put_outputs(run: Run, files: Mapping[str, bytes]) -> None:
    """Leave files among a run's outputs, as its processes do."""
    group = run.attempts.first() or make_group(run)
    process = group.processes.all()[0]
    for path, content in files.items():
        place = run_folder(run.pk) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        RunFile.objects.create(run=run, path=path, process=process, size_bytes=len(content))
