"""The messages of Predict: which tensors a request brings, and the bytes of its answer."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tensorflow_serving.apis import predict_pb2

from .errors import Code, ServingError, invalid
from .examples import CLASSIFY_METHOD, REGRESS_METHOD
from .signatures import DEFAULT_SIGNATURE, Signature
from .tensor_protos import Piece, delimited, is_large, read_tensor, write_tensor
from .tensors import Array

METHODS = ("tensorflow/serving/predict", CLASSIFY_METHOD, REGRESS_METHOD)

_OUTPUTS = b"\x0a"  # PredictResponse.outputs: field 1, an entry for each output
_KEY, _VALUE = b"\x0a", b"\x12"


def find_signature(signatures: Mapping[str, Signature], asked: str) -> Signature:
    """Return the signature that a Predict request names."""
    name = asked or DEFAULT_SIGNATURE
    if name not in signatures:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    signature = signatures[name]
    if signature.method and signature.method not in METHODS:
        raise ServingError(
            Code.INTERNAL,
            "Expected prediction signature method_name to be one of"
            f" {{{', '.join(METHODS)}}}. Was: {signature.method}",
        )
    return signature


def read_inputs(
    signature: Signature, definition: Any, given: Mapping[str, Any]
) -> dict[str, Array]:
    """Return the tensors for a signature's inputs, refusing any that are missing or too many."""
    if len(given) != len(signature.inputs):
        _check_count(signature, definition, given)
    tensors: dict[str, Array] = {}
    sent = 0
    for name in signature.inputs:
        if name in given:
            proto = given[name]
            sent += 1
        elif name in definition.defaults:
            proto = definition.defaults[name]
        else:
            raise invalid(
                f"Signature input alias: {name}(feed name: {definition.inputs[name].name}) not"
                " found in request and no default value provided. Inputs expected to be in the"
                f" request {{{_listed(given)}}}, or default input alias set:"
                f" {_listed(definition.defaults)}"
            )
        try:
            tensors[name] = read_tensor(proto)
        except ServingError as error:
            message = f"tensor parsing error: {name} ({error.message})"
            raise ServingError(error.code, message) from error
    if sent != len(given):
        used = set(given) & signature.inputs.keys()
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {_listed(used)},"
            f" request input: {_listed(given)}"
        )
    return tensors


def has_large_inputs(request: Any) -> bool:
    """Whether a PredictRequest takes longer to read than its size says."""
    return any(map(is_large, request.inputs.values()))


def read_output_filter(signature: Signature, wanted: Any) -> tuple[str, ...] | None:
    """Return the outputs asked for, None for all of them."""
    names: list[str] = []
    for name in wanted:
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in"
                f" the set {{{_listed(signature.outputs)}}}."
            )
        if name in names:
            raise invalid(f"duplicate output tensor alias: {name}")
        names.append(name)
    return tuple(names) or None


def write_response(
    model: str, version: int, signature: str, results: Mapping[str, Array], *, as_content: bool
) -> bytes:
    """Return a PredictResponse as it goes over the wire."""
    pieces: list[Piece] = [_spec(model, version, signature)]
    for name, array in results.items():
        tensor = delimited(_VALUE, write_tensor(array, as_content=as_content))
        pieces += delimited(_OUTPUTS, [*delimited(_KEY, [name.encode()]), *tensor])
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def _spec(model: str, version: int, signature: str) -> bytes:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = model
    response.model_spec.version.value = version
    response.model_spec.signature_name = signature
    return bytes(response.SerializeToString())


def _check_count(signature: Signature, definition: Any, given: Mapping[str, Any]) -> None:
    if len(given) < len(signature.inputs) and definition.defaults:
        return
    sent, required = set(given), set(signature.inputs)
    raise invalid(
        f"input size does not match signature: {len(sent)}!={len(required)}"
        f" len({{{_listed(sent)}}}) != len({{{_listed(required)}}})."
        f" Sent extra: {{{_listed(sent - required)}}}."
        f" Missing but required: {{{_listed(required - sent)}}}."
    )


def _listed(names: Any) -> str:
    return ",".join(sorted(names))
