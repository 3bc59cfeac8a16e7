"""What a Predict request is held to: its signature, and a tensor for each input.

Requests that come over gRPC and those recorded for warm-up are read alike.
"""

from collections.abc import Mapping
from typing import Any

from .errors import Code, ServingError, invalid
from .examples import CLASSIFY_METHOD, REGRESS_METHOD
from .signatures import DEFAULT_SIGNATURE, Signature
from .tensors.arrays import Array
from .tensors.protos import read_tensor

METHODS = ("tensorflow/serving/predict", CLASSIFY_METHOD, REGRESS_METHOD)


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
                f" request {{{listed(given)}}}, or default input alias set:"
                f" {listed(definition.defaults)}"
            )
        try:
            tensors[name] = read_tensor(proto)
        except ServingError as error:
            message = f"tensor parsing error: {name} ({error.message})"
            raise ServingError(error.code, message) from error
    if sent != len(given):
        used = set(given) & signature.inputs.keys()
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {listed(used)},"
            f" request input: {listed(given)}"
        )
    return tensors


def _check_count(signature: Signature, definition: Any, given: Mapping[str, Any]) -> None:
    if len(given) < len(signature.inputs) and definition.defaults:
        return
    sent, required = set(given), set(signature.inputs)
    raise invalid(
        f"input size does not match signature: {len(sent)}!={len(required)}"
        f" len({{{listed(sent)}}}) != len({{{listed(required)}}})."
        f" Sent extra: {{{listed(sent - required)}}}."
        f" Missing but required: {{{listed(required - sent)}}}."
    )


def listed(names: Any) -> str:
    """Write names in one order."""
    return ",".join(sorted(names))
