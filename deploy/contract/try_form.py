"""What the form that tries a service needs to know of each input: which widget, which values."""

from typing import Any

from deploy.contract.examples import example_of, scalar_of
from deploy.contract.signatures import INT_RANGES, SignatureSpec, TensorSpec

MOST_FIELDS = 24


def try_form(signatures: list[SignatureSpec]) -> list[dict[str, Any]]:
    """Describe the signatures for static/js/try-form.js."""
    return [
        {
            "name": signature.name,
            "rows": signature.uses_row_format,
            "inputs": [
                _input(tensor, by_row=signature.uses_row_format) for tensor in signature.inputs
            ],
            "note": example_of(signature).note,
            "refused": bool(signature.why_not_rest),
        }
        for signature in signatures
    ]


def _input(tensor: TensorSpec, *, by_row: bool) -> dict[str, Any]:
    shape = tensor.row_shape if by_row else tensor.shape
    range_ = INT_RANGES.get(tensor.dtype)
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": None if tensor.shape is None else list(shape or ()),
        "widget": widget_of(tensor, by_row=by_row),
        # As text: JavaScript's numbers end at 2^53.
        "range": [str(end) for end in range_] if range_ else None,
        "value": str(scalar_of(tensor.dtype)),
    }


def widget_of(tensor: TensorSpec, *, by_row: bool) -> str:
    """Return what an input, or one row of it, is filled in with."""
    if by_row and tensor.is_image:
        return "image"
    shape = tensor.row_shape if by_row else tensor.shape
    if tensor.shape is None or shape is None or any(length < 0 for length in shape):
        return "json"
    count = 1
    for length in shape:
        count *= length
    if not 1 <= count <= MOST_FIELDS:
        return "json"
    if tensor.takes_examples and by_row:
        return "example"
    return {"string": "text", "bool": "bool"}.get(tensor.dtype, "number")
