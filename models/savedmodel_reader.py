"""A program that reads a saved_model.pb and prints what it holds as JSON.

The file comes from strangers and may be anything, so it is read in a process of its own, with
limits on memory and time; nothing in it is run. Started as `python -I savedmodel_reader.py FILE`.
"""

import json
import resource
import sys
from collections import Counter
from typing import Any

MEMORY_BYTES = 6 * 2**30
CPU_SECONDS = 60
LARGEST_TOLD = 8 * 2**20  # in letters, all of which go into the database
LOADING = ("saved_model_main_op", "legacy_init_op", "table_initializer")
VARIABLE_OPS = {"VarHandleOp", "Variable", "VariableV2", "TemporaryVariable", "AutoReloadVariable"}
DAMAGED, TOO_LARGE = 3, 4


def main(path: str) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from google.protobuf.message import DecodeError

    try:
        with open(path, "rb") as file:
            told = json.dumps(describe(file.read()))
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return DAMAGED
    except MemoryError:
        return TOO_LARGE
    if len(told) > LARGEST_TOLD:
        return TOO_LARGE
    sys.stdout.write(told)
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
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    for function in functions.values():
        nodes += function.node_def
    run, idle = _ops_of(graph, functions)
    return {
        "tags": list(graph.meta_info_def.tags),
        "tensorflow_version": graph.meta_info_def.tensorflow_version,
        "node_count": len(nodes),
        "has_variables": any(node.op in VARIABLE_OPS for node in nodes),
        "ops_run": run,
        "ops_idle": idle,
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


def _ops_of(graph: Any, functions: dict[str, Any]) -> tuple[Counter[str], Counter[str]]:
    """Count the operations that run when the model is loaded or asked, and those that do not."""
    nodes = {node.name: node for node in graph.graph_def.node}
    reached = _reached(graph, nodes)
    called: set[str] = set()
    waiting = [nodes[name] for name in reached]
    while waiting:
        for name in (_called_by(waiting.pop()) & functions.keys()) - called:
            called.add(name)
            waiting += functions[name].node_def
    run, idle = Counter[str](), Counter[str]()
    for name, node in nodes.items():
        (run if name in reached else idle)[node.op] += 1
    for name, function in functions.items():
        (run if name in called else idle).update(node.op for node in function.node_def)
    for counter in (run, idle):
        for name in functions.keys() & counter.keys():
            del counter[name]
    return run, idle


def _reached(graph: Any, nodes: dict[str, Any]) -> set[str]:
    """Name the nodes that outputs and initializers need."""
    names = [
        info.name
        for signature in graph.signature_def.values()
        for info in signature.outputs.values()
    ]
    for key in LOADING:
        names += graph.collection_def[key].node_list.value if key in graph.collection_def else []
    reached: set[str] = set()
    while names:
        name = names.pop().lstrip("^").partition(":")[0]
        if name not in reached and name in nodes:
            reached.add(name)
            names += nodes[name].input
    return reached


def _called_by(node: Any) -> set[str]:
    names = {node.op}
    for value in node.attr.values():
        names.add(value.func.name)
        names.update(function.name for function in value.list.func)
    return names


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
