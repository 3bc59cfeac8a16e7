"""What JSON values may stand for elements of a tensor, by type, and the arrays made of them."""

import base64
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import Code, ServingError, invalid
from .json_text import kind, quote

Array = npt.NDArray[Any]

# numpy 1 stops at 32 dimensions.
MAX_RANK = 32

_INT32 = (-(2**31), 2**31 - 1)
# Narrow integers take any 32-bit number and keep its low bits, as TensorProto.int_val does.
_WHOLE: dict[str, tuple[int, int]] = {
    "int8": _INT32,
    "int16": _INT32,
    "int32": _INT32,
    "uint8": _INT32,
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
_REAL: dict[str, np.dtype[Any]] = {"float": np.dtype(np.float32), "double": np.dtype(np.float64)}


def numeric_array(values: Any, dtype: str) -> Array | None:
    """Convert nested lists that hold only plain numbers, or return None where in doubt.

    The caller has made sure that no strings, booleans or nulls are inside.
    """
    real = _REAL.get(dtype)
    try:
        if real is not None:
            array = np.array(values, dtype=real)
        elif dtype in _WHOLE:
            array = np.array(values)
            # A number with a decimal point makes numpy choose float64, a huge one uint64.
            if array.dtype != np.int64 or not _within(array, _WHOLE[dtype]):
                return None
            array = array.astype(dtype)
        else:
            return None
    except (ValueError, TypeError, OverflowError):
        return None
    return array if array.ndim <= MAX_RANK else None


def dense_shape(value: Any) -> tuple[int, ...]:
    """Read a value's shape off its first elements."""
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > MAX_RANK:
            raise invalid(f"Encountered lists nested more than {MAX_RANK} levels deep")
        if not value:
            break
        value = value[0]
    return tuple(shape)


def collect(value: Any, shape: tuple[int, ...], dtype: str, into: list[Any]) -> None:
    """Append a value's elements in order; refuse what isn't of this shape and type."""
    _collect(value, shape, 0, dtype, _element_reader(dtype), into)


def array_of(elements: list[Any], shape: tuple[int, ...], dtype: str) -> Array:
    """Make the tensor of elements that were collected."""
    if dtype in _REAL:
        array: Array = np.array(elements, dtype=_REAL[dtype])
    elif dtype == "string":
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
    elif dtype == "bool":
        array = np.array(elements, dtype=np.bool_)
    else:
        wide = np.dtype(np.uint64 if dtype == "uint64" else np.int64)
        array = np.array(elements, dtype=wide).astype(dtype)
    return array.reshape(shape)


def is_base64(value: Any) -> bool:
    """Return whether a JSON object stands for bytes: {"b64": "..."} and nothing else."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _within(array: Array, limits: tuple[int, int]) -> bool:
    low, high = limits
    return bool(array.min() >= low and array.max() <= high) if array.size else True


def _collect(
    value: Any,
    shape: tuple[int, ...],
    level: int,
    dtype: str,
    read: Callable[[Any], Any],
    into: list[Any],
) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {quote(value)} found at incorrect level: {level + 1}"
                f" in the JSON DOM. Expected at level: {rank}"
            )
        into.append(read(value))
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level}"
            f" expected size: {shape[level]}"
        )
    for item in value:
        _collect(item, shape, level + 1, dtype, read, into)


def _element_reader(dtype: str) -> Callable[[Any], Any]:
    if dtype in _REAL:
        return lambda value: _real(value, dtype)
    if dtype in _WHOLE:
        return lambda value: _whole(value, dtype, _WHOLE[dtype])
    if dtype == "string":
        return _bytes
    if dtype == "bool":
        return _bool
    return lambda value: _unimplemented(value, dtype)


def _wrong_type(value: Any, dtype: str) -> ServingError:
    return invalid(
        f"JSON Value: {quote(value)} Type: {kind(value)} is not of expected type: {dtype}"
    )


def _real(value: Any, dtype: str) -> float:
    if type(value) is not float and type(value) is not int:
        raise _wrong_type(value, dtype)
    return value


def _whole(value: Any, dtype: str, limits: tuple[int, int]) -> int:
    if type(value) is not int or not limits[0] <= value <= limits[1]:
        raise _wrong_type(value, dtype)
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _wrong_type(value, "bool")
    return value


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict):
        return decode_base64(value)
    if not isinstance(value, str):
        raise _wrong_type(value, "string")
    return value.encode("utf-8", "surrogateescape")


def _unimplemented(value: Any, dtype: str) -> Any:
    if isinstance(value, dict):
        raise _wrong_type(value, dtype)
    raise ServingError(
        Code.UNIMPLEMENTED, f"Conversion of JSON Value: {quote(value)} to type: {dtype}"
    )


_SPACES = re.compile(r"[ \t\n\r\f\v]+")


def decode_base64(value: dict[str, Any]) -> bytes:
    """Return the bytes that {"b64": "..."} stands for."""
    if not is_base64(value):
        raise invalid(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
    # Spaces and missing padding are let pass, as absl's decoder does.
    text = _SPACES.sub("", value["b64"])
    digits = text.rstrip("=")
    try:
        if len(text) - len(digits) > 2:
            raise invalid("Unable to base64 decode")
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError:
        raise invalid("Unable to base64 decode") from None
