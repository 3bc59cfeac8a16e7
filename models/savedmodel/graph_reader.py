"""A program that reads a saved_model.pb and prints what it holds as JSON.

The file comes from strangers and may be anything, so it is read in a process of its own, with
limits on memory and time; nothing in it is run. Started as `python -I savedmodel_reader.py FILE`.
"""

import json
import re
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

MEMORY_BYTES = 6 * 2**30
CPU_SECONDS = 60
MAX_OUTPUT_CHARS = 8 * 2**20  # in letters, all of which go into the database
LOADING = ("saved_model_main_op", "legacy_init_op", "table_initializer")
VARIABLE_OPS = {"VarHandleOp", "Variable", "VariableV2", "TemporaryVariable", "AutoReloadVariable"}
TABLE_INITIALIZER_OPS = {"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"}
# Operations that take the path of a file where an attribute has another value than these.
PATH_ATTRIBUTES = {
    "PrintV2": ("output_stream", r"|stdout|stderr|log\((info|warning|error)\)"),
    "DecodeProtoV2": ("descriptor_source", r"|local://|bytes://.*"),
    "EncodeProto": ("descriptor_source", r"|local://|bytes://.*"),
}
# Operations with an input that is the path of a file to read.
FILE_TAKING_OPS = re.compile(
    r"InitializeTableFromTextFile(V2)?|ReadFile|MatchingFiles"
    r"|(Experimental)?(TextLine|TFRecord|FixedLengthRecord|CSV|MatchingFiles|List)\w*Dataset\w*"
)
ABSOLUTE_PATH = re.compile(r"/.|[A-Za-z]:[\\/]|\w+://")
MAX_PATHS, MAX_PATH_CHARS = 10, 300
MAX_CALL_DEPTH = 50
# What a tensor of a signature is that has several parts, by the class of its type.
COMPOSITES = {"SPARSE_TENSOR_SPEC": "sparse", "RAGGED_TENSOR_SPEC": "ragged"}
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
    if len(told) > MAX_OUTPUT_CHARS:
        return TOO_LARGE
    sys.stdout.write(told)
    return 0


def describe(content: bytes) -> dict[str, Any]:
    """Return the meta graphs of a SavedModel: tags, signatures, TensorFlow version."""
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
    flow = _Dataflow(graph, functions)
    return {
        "tags": list(graph.meta_info_def.tags),
        "tensorflow_version": graph.meta_info_def.tensorflow_version,
        "node_count": len(nodes),
        "has_variables": any(node.op in VARIABLE_OPS for node in nodes),
        "executed_ops": run,
        "unused_ops": idle,
        "ops_with_paths": sorted({node.op for node in nodes if _names_a_file(node)}),
        "foreign_table_files": _count_foreign_table_files(flow),
        "baked_in_paths": _baked_in_paths(flow),
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


class _Dataflow:
    """Which nodes a tensor comes from, through identities and calls of functions."""

    def __init__(self, graph: Any, functions: dict[str, Any]) -> None:
        self._functions = functions
        self._assets = {asset.tensor_info.name.partition(":")[0] for asset in graph.asset_file_def}
        self.scopes = {"": {node.name: node for node in graph.graph_def.node}}
        for name, function in functions.items():
            self.scopes[name] = {node.name: node for node in function.node_def}
        self._calls: dict[str, list[tuple[str, Any]]] = {}
        for scope, found in self.scopes.items():
            for node in found.values():
                for name in _called_by(node) & functions.keys():
                    self._calls.setdefault(name, []).append((scope, node))

    def is_asset(self, reference: str, scope: str) -> bool:
        """Return whether a tensor is the path of an asset of the model, whoever calls."""
        sources = list(self._sources(reference, scope))
        return bool(sources) and all(
            node is not None and not where and node.name in self._assets for where, node in sources
        )

    def texts(self, reference: str, scope: str) -> Iterator[str]:
        """Yield the texts that the graph itself holds for a tensor, names of assets aside."""
        for where, node in self._sources(reference, scope):
            if node is not None and node.op == "Const" and (where or node.name not in self._assets):
                for value in node.attr["value"].tensor.string_val:
                    yield value.decode(errors="replace")

    def _sources(
        self, reference: str, scope: str, depth: int = 0
    ) -> Iterator[tuple[str, Any | None]]:
        """Yield each node that a tensor may come from, with its function; None if not known."""
        name = reference.partition(":")[0]
        node = self.scopes[scope].get(name)
        if depth > MAX_CALL_DEPTH:
            yield scope, None
        elif node is not None and node.op == "Identity" and node.input:
            yield from self._sources(node.input[0], scope, depth + 1)
        elif node is not None or not scope:
            yield scope, node
        else:
            arguments = [argument.name for argument in self._functions[scope].signature.input_arg]
            callers = self._calls.get(scope, []) if name in arguments else []
            if not callers:
                yield scope, None
            for outer, caller in callers:
                place = arguments.index(name)
                if place < len(caller.input):
                    yield from self._sources(caller.input[place], outer, depth + 1)
                else:
                    yield outer, None


def _count_foreign_table_files(flow: _Dataflow) -> int:
    """Count the lookup tables that are filled from a file that is no asset of the model."""
    return sum(
        len(node.input) < 2 or not flow.is_asset(node.input[1], scope)
        for scope, found in flow.scopes.items()
        for node in found.values()
        if node.op in TABLE_INITIALIZER_OPS
    )


def _baked_in_paths(flow: _Dataflow) -> list[str]:
    """Return the paths of files that the graph reads and holds as texts, not as assets."""
    return sorted(
        {
            text[:MAX_PATH_CHARS]
            for scope, found in flow.scopes.items()
            for node in found.values()
            if FILE_TAKING_OPS.fullmatch(node.op)
            for reference in node.input
            for text in flow.texts(reference, scope)
            if ABSOLUTE_PATH.match(text)
        }
    )[:MAX_PATHS]


def _names_a_file(node: Any) -> bool:
    """Return whether an attribute is, or may become by a call, the path of a file."""
    if node.op not in PATH_ATTRIBUTES:
        return False
    name, harmless = PATH_ATTRIBUTES[node.op]
    if name not in node.attr:
        return False
    value = node.attr[name]
    return value.WhichOneof("value") != "s" or not re.fullmatch(
        harmless.encode(), value.s, re.DOTALL
    )


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
    described = {
        "dtype": dtype,
        "shape": None if shape.unknown_rank else [dim.size for dim in shape.dim],
    }
    encoding = _encoding(info)
    return {**described, "encoding": encoding} if encoding else described


def _encoding(info: Any) -> str:
    """Return how a tensor is kept that is not one array of numbers or texts."""
    kind = info.WhichOneof("encoding")
    if kind == "coo_sparse":
        return "sparse"
    if kind != "composite_tensor":
        return ""
    type_spec = info.composite_tensor.type_spec
    field = type_spec.DESCRIPTOR.fields_by_name["type_spec_class"]
    known = field.enum_type.values_by_number.get(type_spec.type_spec_class)
    return COMPOSITES.get(known.name if known else "", "composite")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
