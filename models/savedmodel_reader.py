"""A program that reads a saved_model.pb and prints what it holds as JSON.

The file comes from strangers and may be anything, so it is read in a process of its own, with
limits on memory and time; nothing in it is run. Started as `python -I savedmodel_reader.py FILE`.
"""

import json
import resource
import sys
from typing import Any

MEMORY_BYTES = 6 * 2**30
CPU_SECONDS = 60
VARIABLE_OPS = {"VarHandleOp", "Variable", "VariableV2", "TemporaryVariable", "AutoReloadVariable"}
DAMAGED, TOO_LARGE = 3, 4


def main(path: str) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from google.protobuf.message import DecodeError

    try:
        with open(path, "rb") as file:
            found = describe(file.read())
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return DAMAGED
    except MemoryError:
        return TOO_LARGE
    json.dump(found, sys.stdout)
    return 0


def describe(content: bytes) -> dict[str, Any]:
    """Give the meta graphs of a SavedModel: tags, signatures, TensorFlow version."""
    saved_model = _saved_model_class().FromString(content)
    return {
        "schema_version": saved_model.saved_model_schema_version,
        "meta_graphs": [_describe_graph(graph) for graph in saved_model.meta_graphs],
    }


def _saved_model_class() -> Any:
    """Make the message SavedModel, which tensorboard's protocol files leave out."""
    from google.protobuf import (
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )
    from tensorboard.compat.proto import meta_graph_pb2

    file = descriptor_pb2.FileDescriptorProto(
        name="trainyard/saved_model.proto",
        package="trainyard",
        syntax="proto3",
        dependency=[meta_graph_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="SavedModel")
    kinds = descriptor_pb2.FieldDescriptorProto
    message.field.add(
        name="saved_model_schema_version",
        number=1,
        type=kinds.TYPE_INT64,
        label=kinds.LABEL_OPTIONAL,
    )
    message.field.add(
        name="meta_graphs",
        number=2,
        type=kinds.TYPE_MESSAGE,
        label=kinds.LABEL_REPEATED,
        type_name=f".{meta_graph_pb2.MetaGraphDef.DESCRIPTOR.full_name}",
    )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("trainyard.SavedModel"))


def _describe_graph(graph: Any) -> dict[str, Any]:
    nodes = [*graph.graph_def.node]
    for function in graph.graph_def.library.function:
        nodes += function.node_def
    return {
        "tags": list(graph.meta_info_def.tags),
        "tensorflow_version": graph.meta_info_def.tensorflow_version,
        "node_count": len(nodes),
        "has_variables": any(node.op in VARIABLE_OPS for node in nodes),
        "assets": [asset.filename for asset in graph.asset_file_def],
        "signatures": {
            key: {
                "method": signature.method_name,
                "inputs": _tensors(signature.inputs),
                "outputs": _tensors(signature.outputs),
            }
            for key, signature in sorted(graph.signature_def.items())
        },
    }


def _tensors(tensors: Any) -> dict[str, Any]:
    return {name: _tensor(info) for name, info in sorted(tensors.items())}


def _tensor(info: Any) -> dict[str, Any]:
    from tensorboard.compat.proto import types_pb2

    # An unknown number of dimensions is None, an unknown length of one is -1.
    shape = info.tensor_shape
    try:
        dtype = types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower()
    except ValueError:
        dtype = f"type {info.dtype}"
    return {
        "dtype": dtype,
        "shape": None if shape.unknown_rank else [dim.size for dim in shape.dim],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
