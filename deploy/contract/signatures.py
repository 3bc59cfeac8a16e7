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
# What TensorFlow Serving's REST reads and writes; all other types travel by gRPC alone.
JSON_TYPES = {
    *("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"),
    *("bool", "string"),
}
# How a signature's description names tensors that are made of several; "invalid" is the type of
# those that were described before they had names.
COMPOSITE_TYPES = {"ragged", "sparse", "composite", "invalid"}
INT_RANGES = {
    f"{sign}int{bits}": ((0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output; a `shape` of None is unknown, a length of -1 may vary."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None

    @property
    def has_rows(self) -> bool:
        """Return whether its first dimension counts the instances of a request."""
        return self.shape is None or bool(self.shape and self.shape[0] < 0)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Return the shape of one instance, where there is one."""
        return () if self.shape is None else self.shape[1:]

    @property
    def lengths(self) -> list[int]:
        """Return the length of each dimension, one for those that are left open."""
        shape = (-1,) if self.shape is None else self.shape
        return [1 if length < 0 else length for length in shape]

    @property
    def size(self) -> int:
        return math.prod(self.lengths)

    @property
    def is_composite(self) -> bool:
        """Return whether it is made of several tensors, which no request and no answer can hold."""
        return self.dtype in COMPOSITE_TYPES

    @property
    def takes_examples(self) -> bool:
        """Return whether it seems to hold serialized tf.Example records."""
        return self.dtype == "string" and len(self.lengths) == 1 and self.name in EXAMPLE_INPUTS

    @property
    def is_image(self) -> bool:
        """Return whether a row of it may be drawn: [h, w], [h, w, 1] or [h, w, 3] of numbers."""
        sides = self.row_shape[:2]
        return (
            self.has_rows
            and self.dtype not in ("string", "bool")
            and not self.dtype.startswith("complex")
            and len(sides) == 2
            and all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in sides)
            and (
                len(self.row_shape) == 2
                or (len(self.row_shape) == 3 and self.row_shape[2] in CHANNELS)
            )
        )


@dataclass(frozen=True)
class SignatureSpec:
    """A way to call a model."""

    name: str
    method: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def uses_row_format(self) -> bool:
        """Return whether requests may list instances, as TensorFlow Serving's row form does."""
        return bool(self.inputs) and all(tensor.has_rows for tensor in self.inputs)

    @property
    def returns_row_format(self) -> bool:
        return all(tensor.has_rows for tensor in self.outputs)

    @property
    def size(self) -> int:
        return sum(tensor.size for tensor in self.inputs)

    @property
    def is_callable(self) -> bool:
        """Return whether model servers answer it at all."""
        return not any(tensor.is_composite for tensor in (*self.inputs, *self.outputs))

    @property
    def why_not_rest(self) -> str:
        """Return in a sentence why no REST request is answered; nothing where one can be."""
        if not self.is_callable:
            return (
                f"The signature {self.name} has ragged or sparse tensors, so model servers cannot"
                " answer it. Export one with dense tensors (for example with .to_tensor())."
            )
        foreign = [
            f"{one.name} is {one.dtype}"
            for one in (*self.inputs, *self.outputs)
            if one.dtype not in JSON_TYPES
        ]
        if foreign:
            return (
                f"JSON cannot carry every type of the signature {self.name}"
                f" ({', '.join(foreign)}): use gRPC."
            )
        if not self.inputs:
            return f"The signature {self.name} has no inputs, which REST refuses: use gRPC."
        return ""


def signatures_of(version: ModelVersion) -> list[SignatureSpec]:
    """Return a version's signatures: those that can be answered first, of these the default one."""
    found = [_signature(name, described) for name, described in version.signatures.items()]
    return sorted(
        found, key=lambda one: (not one.is_callable, one.name != DEFAULT_SIGNATURE, one.name)
    )


def default_signature(version: ModelVersion) -> SignatureSpec:
    """Return the default signature, or the first one that can be answered."""
    return signatures_of(version)[0]


def _signature(name: str, described: Mapping[str, Any]) -> SignatureSpec:
    return SignatureSpec(
        name,
        described.get("method", ""),
        _tensors(described.get("inputs", {})),
        _tensors(described.get("outputs", {})),
    )


def _tensors(described: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name,
            one.get("encoding") or one["dtype"],
            None if one["shape"] is None else tuple(one["shape"]),
        )
        for name, one in described.items()
    )
