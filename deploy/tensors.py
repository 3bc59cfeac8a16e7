"""What the inputs and outputs of a signature are to whoever writes a request."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.models import ModelVersion

DEFAULT_SIGNATURE = "serving_default"
EXAMPLE_INPUTS = ("examples", "inputs", "input")
SMALLEST_SIDE, LARGEST_SIDE = 8, 1024
CHANNELS = (1, 3)
INT_RANGES = {
    f"{sign}int{bits}": ((0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class Tensor:
    """One input or output; a `shape` of None is unknown, a length of -1 may vary."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None

    @property
    def has_rows(self) -> bool:
        """Tell whether its first dimension counts the instances of a request."""
        return self.shape is None or bool(self.shape and self.shape[0] < 0)

    @property
    def of_row(self) -> tuple[int, ...]:
        """Give the shape of one instance, where there is one."""
        return () if self.shape is None else self.shape[1:]

    @property
    def lengths(self) -> list[int]:
        """Give the length of each dimension, one for those that are left open."""
        shape = (-1,) if self.shape is None else self.shape
        return [1 if length < 0 else length for length in shape]

    @property
    def size(self) -> int:
        return math.prod(self.lengths)

    @property
    def takes_examples(self) -> bool:
        """Tell whether it seems to hold serialized tf.Example records."""
        return self.dtype == "string" and len(self.lengths) == 1 and self.name in EXAMPLE_INPUTS

    @property
    def is_image(self) -> bool:
        """Tell whether a row of it may be drawn: [h, w], [h, w, 1] or [h, w, 3] of numbers."""
        sides = self.of_row[:2]
        return (
            self.has_rows
            and self.dtype not in ("string", "bool")
            and not self.dtype.startswith("complex")
            and len(sides) == 2
            and all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in sides)
            and (len(self.of_row) == 2 or (len(self.of_row) == 3 and self.of_row[2] in CHANNELS))
        )


@dataclass(frozen=True)
class Signature:
    """A way to call a model."""

    name: str
    method: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def takes_rows(self) -> bool:
        """Tell whether requests may list instances, as TensorFlow Serving's row form does."""
        return bool(self.inputs) and all(tensor.has_rows for tensor in self.inputs)

    @property
    def gives_rows(self) -> bool:
        return all(tensor.has_rows for tensor in self.outputs)

    @property
    def size(self) -> int:
        return sum(tensor.size for tensor in self.inputs)


def signatures_of(version: ModelVersion) -> list[Signature]:
    """Give a version's signatures, the default one first."""
    names = sorted(version.signatures, key=lambda name: (name != DEFAULT_SIGNATURE, name))
    return [_signature(name, version.signatures[name]) for name in names]


def default_signature(version: ModelVersion) -> Signature:
    """Give the default signature, or the first one where there is none."""
    return signatures_of(version)[0]


def _signature(name: str, described: Mapping[str, Any]) -> Signature:
    return Signature(
        name,
        described.get("method", ""),
        _tensors(described.get("inputs", {})),
        _tensors(described.get("outputs", {})),
    )


def _tensors(described: Mapping[str, Any]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name, one["dtype"], None if one["shape"] is None else tuple(one["shape"]))
        for name, one in described.items()
    )
