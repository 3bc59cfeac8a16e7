"""Replay a version's recorded requests before it serves, so that no client meets a cold graph."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from ..errors import Code, ServingError
from ..examples import (
    InferenceTask,
    classify,
    find_signature,
    multi_inference,
    read_input,
    regress,
)
from ..monitoring import Metrics
from ..predict_inputs import find_signature as find_predict_signature
from ..predict_inputs import read_inputs
from ..signatures import Signature

log = logging.getLogger("modelserver")

RECORDS_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


def warm_up(
    version_path: Path,
    signatures: Mapping[str, Signature],
    definitions: Mapping[str, Any],
    iterations: int,
    metrics: Metrics,
) -> None:
    """Run every recorded request so many times; one that fails fails the load."""
    path = version_path / RECORDS_FILE
    if not path.is_file():
        return
    started = perf_counter()
    replayed = 0
    for index, record in enumerate(_records(path)):
        for _ in range(iterations):
            try:
                _replay(record, signatures, definitions)
            except ServingError as error:
                raise _failed(path, error.code, f"record {index} fails: {error.message}") from error
        replayed += 1
    metrics.observe_warmup(version_path, perf_counter() - started)
    log.info("Replayed %d warm-up requests of %s", replayed, path)


def _records(path: Path) -> Iterator[Any]:
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    try:
        for index, data in enumerate(tf.compat.v1.io.tf_record_iterator(str(path))):
            if index == MAX_RECORDS:
                raise _failed(
                    path,
                    Code.INVALID_ARGUMENT,
                    f"Number of warmup records exceeds the maximum ({MAX_RECORDS})",
                )
            yield prediction_log_pb2.PredictionLog.FromString(data)
    except tf.errors.OpError as error:
        reason = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise _failed(path, Code(error.error_code), reason) from error
    except DecodeError as error:
        reason = f"Failed to parse warmup record {index}: {error}"
        raise _failed(path, Code.INVALID_ARGUMENT, reason) from error


def _replay(
    record: Any, signatures: Mapping[str, Signature], definitions: Mapping[str, Any]
) -> None:
    kind = record.WhichOneof("log_type")
    match kind:
        case "predict_log":
            _predict(record.predict_log.request, signatures, definitions)
        case "classify_log":
            request = record.classify_log.request
            signature = find_signature(signatures, request.model_spec.signature_name)
            classify(signature, read_input(request.input))
        case "regress_log":
            request = record.regress_log.request
            signature = find_signature(signatures, request.model_spec.signature_name)
            regress(signature, read_input(request.input))
        case "multi_inference_log":
            request = record.multi_inference_log.request
            tasks = [
                InferenceTask(
                    task.model_spec.name, task.model_spec.signature_name, task.method_name
                )
                for task in request.tasks
            ]
            multi_inference(signatures, tasks, read_input(request.input))
        case "session_run_log":
            number = record.DESCRIPTOR.fields_by_name[kind].number
            raise ServingError(
                Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number} ({kind})"
            )


def _predict(
    request: Any, signatures: Mapping[str, Signature], definitions: Mapping[str, Any]
) -> None:
    signature = find_predict_signature(signatures, request.model_spec.signature_name)
    tensors = read_inputs(signature, definitions[signature.name], request.inputs)
    signature.run(tensors)
    if signature.inline_call is not None and not signature.is_batched:
        signature.run(tensors, inline=True)


def _failed(path: Path, code: Code, reason: str) -> ServingError:
    return ServingError(code, f"Warm-up with {path} failed: {reason}")
