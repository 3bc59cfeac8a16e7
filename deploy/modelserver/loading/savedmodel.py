"""Load a SavedModel with TensorFlow and call its signatures the short way.

The only module that imports TensorFlow, and only when a model is loaded.
"""

import gc
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..batching.queue import BatchingOptions, BatchQueue
from ..errors import Code, ServingError
from ..memory import VARIABLE_MEMORY
from ..monitoring import Metrics
from ..signatures import BoundedCall, Call, Signature
from ..tensors.arrays import Array
from .model_files import check_graph_file, check_memory, check_variables, size_of_variables
from .warmup import warm_up

_UNBOUNDED = re.compile(
    r"(Stateless)?While$|(Ref)?Enter$|(Eager)?PyFunc|(Queue|Barrier|Stage|Map)\w*|\w*Iterator"
)


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What the flags say about every session."""

    tags: tuple[str, ...] = ("serve",)
    config: bytes = b""  # a ConfigProto, which the fields below go before
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    gpu_memory_fraction: float = 0.0
    bfloat16: bool = False
    run_timeout_ms: int = 0
    warm_up: bool = True
    check_methods: bool = False
    warm_up_iterations: int = 1
    batching: BatchingOptions | None = None
    metrics: Metrics = field(default_factory=Metrics)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory: its signatures, also as JSON-ready data and protos; how to unload it."""

    signatures: Mapping[str, Signature]
    metadata: Mapping[str, Any]
    definitions: Mapping[str, Any]
    close: Callable[[], None]


@cache
def import_tensorflow() -> Any:
    """Import TensorFlow without its start-up chatter."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    # What stays for good is kept out of the collector's way: a full pass over TensorFlow's
    # objects would halt every request for tens of milliseconds.
    gc.collect()
    gc.freeze()
    return tf


def load(path: Path, options: SessionOptions) -> LoadedModel:
    """Load a version's directory; every failure is a ServingError that says what is wrong."""
    started = perf_counter()
    is_success = False
    try:
        loaded = _load(path, options)
        is_success = True
    finally:
        options.metrics.loaded(path, perf_counter() - started, is_success=is_success)
    return loaded


def _load(path: Path, options: SessionOptions) -> LoadedModel:
    check_graph_file(path)
    tf = import_tensorflow()
    size = size_of_variables(path)
    if not tf.config.list_physical_devices("GPU"):
        check_memory(path, size, VARIABLE_MEMORY.room())
    check_variables(path)
    VARIABLE_MEMORY.take(size)
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=_session_config(options))
    queues: list[BatchQueue] = []
    try:
        with graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(
                session, list(options.tags), os.fspath(path)
            )
        is_bounded = _is_bounded(meta_graph.graph_def)
        signatures = {
            name: _signature(session, name, definition, options, is_bounded=is_bounded)
            for name, definition in meta_graph.signature_def.items()
        }
        signatures, queues = _batched(signatures, path, options)
        if options.warm_up:
            definitions = meta_graph.signature_def
            warm_up(path, signatures, definitions, options.warm_up_iterations, options.metrics)
    except Exception as error:
        for queue in queues:
            queue.close()
        session.close()
        VARIABLE_MEMORY.give_back(size)
        raise _load_error(tf, error, path) from error
    metadata = {name: _describe(item) for name, item in sorted(meta_graph.signature_def.items())}

    def close() -> None:
        nonlocal session
        for queue in queues:
            queue.close()
        session.close()
        session = None
        VARIABLE_MEMORY.give_back(size)
        gc.collect()

    return LoadedModel(signatures, metadata, dict(meta_graph.signature_def), close)


def _batched(
    signatures: dict[str, Signature], path: Path, options: SessionOptions
) -> tuple[dict[str, Signature], list[BatchQueue]]:
    """Return each signature that can be batched a queue, where the flags and the version ask so."""
    parameters = options.batching.parameters_for(path) if options.batching else None
    if options.batching is None or parameters is None:
        return signatures, []
    made: dict[str, Signature] = {}
    queues: list[BatchQueue] = []
    for name, signature in signatures.items():
        made[name] = signature
        if signature.inputs:
            queue = options.batching.queue(
                parameters,
                tuple(signature.inputs),
                partial(_run_all, signature),
                timeout_ms=options.run_timeout_ms,
            )
            queues.append(queue)
            made[name] = replace(signature, queue=queue)
    return made, queues


def _run_all(signature: Signature, feeds: list[Array], timeout_ms: int | None) -> list[Array]:
    return signature.call(feeds, signature.outputs, timeout_ms)


def _session_config(options: SessionOptions) -> Any:
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

    config = config_pb2.ConfigProto(allow_soft_placement=True)
    config.MergeFromString(options.config)
    if options.intra_op_threads:
        config.intra_op_parallelism_threads = options.intra_op_threads
    if options.inter_op_threads:
        config.inter_op_parallelism_threads = options.inter_op_threads
    if options.gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = options.gpu_memory_fraction
    if options.bfloat16:
        rewriting = config.graph_options.rewrite_options
        rewriting.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    return config


def _is_bounded(graph: Any) -> bool:
    """Return whether every run must end by itself: nothing loops, waits or calls Python."""
    functions = graph.library.function
    nodes = chain(graph.node, *(function.node_def for function in functions))
    return not any(_UNBOUNDED.match(node.op) for node in nodes)


def _signature(
    session: Any, name: str, definition: Any, options: SessionOptions, *, is_bounded: bool
) -> Signature:
    encodings = {info.WhichOneof("encoding") for info in definition.inputs.values()}
    encodings |= {info.WhichOneof("encoding") for info in definition.outputs.values()}
    call: BoundedCall = _composite
    inline_call: Call | None = None
    if encodings <= {"name"}:
        call = _bounded_caller(session, definition, options.run_timeout_ms)
        if is_bounded:
            inline_call = _inline_caller(session, definition)
    return Signature(
        name=name,
        inputs={key: _dtype_name(info) for key, info in sorted(definition.inputs.items())},
        outputs=tuple(sorted(definition.outputs)),
        call=call,
        inline_call=inline_call,
        method=definition.method_name if options.check_methods else "",
    )


def _bounded_caller(session: Any, definition: Any, usual_timeout_ms: int) -> BoundedCall:
    """Make a call that, unlike Session.run, checks no shapes and takes a tenth of the time."""
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.client import pywrap_tf_session
    from tensorflow.python.framework import errors

    @lru_cache(maxsize=1024)
    def options_for(timeout_ms: int) -> bytes:
        data: bytes = config_pb2.RunOptions(timeout_in_ms=timeout_ms).SerializeToString()
        return data

    session._extend_graph()

    def place_of(name: str) -> Any:
        return session.graph.get_tensor_by_name(name)._as_tf_output()

    try:
        feeds_at = [place_of(info.name) for _, info in sorted(definition.inputs.items())]
        fetches = {key: place_of(info.name) for key, info in definition.outputs.items()}
    except (KeyError, ValueError) as error:
        return _refusing(ServingError(Code.INVALID_ARGUMENT, str(error.args[0])))

    def call(feeds: list[Array], outputs: Sequence[str], timeout_ms: int | None) -> list[Array]:
        limit = usual_timeout_ms if timeout_ms is None else timeout_ms
        options = pywrap_tf_session.TF_NewBufferFromString(options_for(limit)) if limit else None
        try:
            results = session._call_tf_sessionrun(
                options,
                dict(zip(feeds_at, feeds, strict=True)),
                [fetches[name] for name in outputs],
                [],
                None,
            )
        except errors.OpError as error:
            raise _from_op_error(error) from None
        finally:
            if options is not None:
                pywrap_tf_session.TF_DeleteBuffer(options)
        return [_as_array(result) for result in results]

    return call


def _inline_caller(session: Any, definition: Any) -> Call | None:
    """Make a call that stays on the caller's own thread, which knows no time limit."""
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.framework import errors

    feeds = [info.name for _, info in sorted(definition.inputs.items())]
    fetches = [info.name for _, info in sorted(definition.outputs.items())]
    distinct = list(dict.fromkeys(fetches))
    places = [distinct.index(name) for name in fetches]
    wanted = config_pb2.CallableOptions(feed=feeds, fetch=distinct)
    wanted.run_options.inter_op_thread_pool = -1
    try:
        run = session._make_callable_from_options(wanted)
    except errors.OpError:
        # The other call meets the same trouble, and reports it.
        return None

    def call(feeds: list[Array]) -> list[Array]:
        try:
            results = run(*feeds)
        except errors.OpError as error:
            raise _from_op_error(error) from None
        return [_as_array(results[place]) for place in places]

    return call


def _refusing(refusal: ServingError) -> BoundedCall:
    def refuse(feeds: list[Array], outputs: Sequence[str], timeout_ms: int | None) -> list[Array]:
        raise refusal

    return refuse


def _as_array(result: Any) -> Array:
    """Wrap scalars, which TensorFlow hands out bare: strings as bytes, numbers as numpy's."""
    if isinstance(result, np.ndarray):
        return result
    return np.array(result, dtype=object if isinstance(result, bytes) else None)


_composite = _refusing(
    ServingError(
        Code.UNIMPLEMENTED,
        "The signature has sparse or ragged tensors, which can't be sent or returned",
    )
)


def _from_op_error(error: Any) -> ServingError:
    return ServingError(Code(error.error_code), error.message)


def _load_error(tf: Any, error: Exception, path: Path) -> ServingError:
    if isinstance(error, ServingError):
        return error
    if isinstance(error, tf.errors.OpError):
        return _from_op_error(error)
    # The loader raises OSError for files it can't parse, RuntimeError for tags it can't find.
    code = Code.DATA_LOSS if isinstance(error, OSError) else Code.NOT_FOUND
    if not isinstance(error, OSError | RuntimeError):
        code = Code.INTERNAL
    return ServingError(code, f"Could not load the SavedModel at {path}: {error}")


def _dtype_name(info: Any) -> str:
    import tensorflow as tf

    if not info.dtype:
        return "invalid"
    name = str(tf.dtypes.as_dtype(info.dtype).name)
    return {"float32": "float", "float64": "double", "float16": "half"}.get(name, name)


def _describe(definition: Any) -> dict[str, Any]:
    return {
        "inputs": {key: _tensor_info(info) for key, info in sorted(definition.inputs.items())},
        "outputs": {key: _tensor_info(info) for key, info in sorted(definition.outputs.items())},
        "method_name": definition.method_name,
        "defaults": {},
    }


def _tensor_info(info: Any) -> dict[str, Any]:
    from tensorflow.core.framework import types_pb2

    described: dict[str, Any] = {
        "dtype": types_pb2.DataType.Name(info.dtype),
        "tensor_shape": {
            "dim": [{"size": str(dim.size), "name": dim.name} for dim in info.tensor_shape.dim],
            "unknown_rank": info.tensor_shape.unknown_rank,
        },
    }
    encoding = info.WhichOneof("encoding")
    if encoding == "name":
        described["name"] = info.name
    elif encoding == "coo_sparse":
        fields = ("values_tensor_name", "indices_tensor_name", "dense_shape_tensor_name")
        described[encoding] = {field: getattr(info.coo_sparse, field) for field in fields}
    elif encoding == "composite_tensor":
        components = info.composite_tensor.components
        described[encoding] = {"components": [_tensor_info(part) for part in components]}
    return described
