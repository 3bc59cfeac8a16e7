"""The tensors of several requests as one, and the results' shape that lets them apart again."""

import numpy as np

from ..errors import Code, ServingError
from ..tensors.arrays import Array


def merge(name: str, parts: list[Array], padding: int, *, pads: bool) -> Array:
    """Put the rows of all requests together, then repeat the last one's first row as padding."""
    if any(part.shape[1:] != parts[0].shape[1:] for part in parts):
        parts = _padded(name, parts, pads=pads)
    if padding:
        last = next(part for part in reversed(parts) if len(part))
        parts = [*parts, *[last[:1]] * padding]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def check_rows(result: Array, rows: int) -> None:
    """Refuse a result that can't be shared out among the requests."""
    if not result.ndim:
        raise ServingError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
    if result.shape[0] != rows:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension"
            " sizes of the input tensors",
        )


def _padded(name: str, parts: list[Array], *, pads: bool) -> list[Array]:
    """Return all parts the largest inner shape; each is filled up with its first element."""
    if not pads:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            f"Tensors with name '{name}' from different tasks have different shapes and padding"
            " is turned off. Set pad_variable_length_inputs to true, or ensure that all tensors"
            " with the same name have equal dimensions starting with the first dim.",
        )
    if len({part.ndim for part in parts}) > 1:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            f"Tensors with name '{name}' from different tasks have different numbers of dimensions",
        )
    inner = tuple(max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True))
    return [_filled_up(part, inner) for part in parts]


def _filled_up(part: Array, inner: tuple[int, ...]) -> Array:
    if part.shape[1:] == inner:
        return part
    filler = part.flat[0] if part.size else np.zeros(1, part.dtype)[0]
    filled = np.full((part.shape[0], *inner), filler, dtype=part.dtype)
    filled[tuple(slice(size) for size in part.shape)] = part
    return filled
