"""Replay a version's recorded requests before it serves, so that no client meets a cold graph."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import Code, ServingError
from .signatures import Signature, find_signature

log = logging.getLogger("modelserver")

RECORDS_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


def warm_up(version_path: Path, signatures: Mapping[str, Signature]) -> None:
    """Run every recorded predict request once; one that fails fails the load."""
    path = version_path / RECORDS_FILE
    if not path.is_file():
        return
    replayed = 0
    for index, record in enumerate(_records(path)):
        kind = record.WhichOneof("log_type")
        if kind == "predict_log":
            try:
                _replay(record.predict_log.request, signatures)
            except ServingError as error:
                raise _failed(path, f"record {index} fails: {error.message}") from error
            replayed += 1
        else:
            log.warning("Warm-up record %d of %s is left out: %s", index, path, kind)
    log.info("Replayed %d warm-up requests of %s", replayed, path)


def _records(path: Path) -> Iterator[Any]:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    try:
        for index, data in enumerate(tf.compat.v1.io.tf_record_iterator(str(path))):
            if index == MAX_RECORDS:
                raise _failed(path, f"there are more than {MAX_RECORDS} records")
            yield prediction_log_pb2.PredictionLog.FromString(data)
    except (tf.errors.OpError, ValueError) as error:
        raise _failed(path, f"the file can't be read: {error}") from error


def _replay(request: Any, signatures: Mapping[str, Signature]) -> None:
    import tensorflow as tf

    signature = find_signature(signatures, request.model_spec.signature_name)
    missing = signature.inputs.keys() - request.inputs.keys()
    if missing:
        raise ServingError(Code.INVALID_ARGUMENT, f"missing inputs: {', '.join(sorted(missing))}")
    tensors = {name: tf.make_ndarray(request.inputs[name]) for name in signature.inputs}
    signature.run(tensors)
    if signature.call_in_place is not None:
        signature.run(tensors, in_place=True)


def _failed(path: Path, reason: str) -> ServingError:
    return ServingError(Code.FAILED_PRECONDITION, f"Warm-up with {path} failed: {reason}")
