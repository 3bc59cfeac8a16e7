"""The messages of Predict: which outputs a request wants, and the bytes of its answer."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tensorflow_serving.apis import predict_pb2

from ..errors import invalid
from ..predict_inputs import listed
from ..signatures import Signature
from ..tensors.arrays import Array
from ..tensors.protos import Piece, delimited, is_large, write_tensor

_OUTPUTS = b"\x0a"  # PredictResponse.outputs: field 1, an entry for each output
_KEY, _VALUE = b"\x0a", b"\x12"


def has_large_inputs(request: Any) -> bool:
    """Whether a PredictRequest takes longer to read than its size says."""
    return any(map(is_large, request.inputs.values()))


def count_strings(request: Any) -> int:
    """Count the strings of a PredictRequest; requests of another kind have none of their own."""
    inputs = getattr(request, "inputs", {})
    return sum(len(tensor.string_val) for tensor in inputs.values())


def read_output_filter(signature: Signature, wanted: Any) -> tuple[str, ...] | None:
    """Return the outputs asked for, None for all of them."""
    names: list[str] = []
    for name in wanted:
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in"
                f" the set {{{listed(signature.outputs)}}}."
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
