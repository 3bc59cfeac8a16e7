"""Write a signature's results as the JSON text that TensorFlow Serving would write."""

import base64
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import orjson

from ..errors import invalid
from ..tensors.arrays import Array
from .predict_request import RequestFormat

_NOT_FINITE = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_NATIVE = frozenset("biu")
_TENSORFLOW_NAMES = {"float16": "half"}


def write_results(results: Mapping[str, Array], form: RequestFormat) -> bytes:
    """Return the body that answers a predict request made in this form."""
    if not results:
        raise invalid("Cannot convert empty tensor map to JSON")
    if form is RequestFormat.ROW:
        return f'{{"predictions": {_rows(results)}}}'.encode()
    if len(results) == 1:
        [(name, array)] = results.items()
        return f'{{"outputs": {_nested(_values(name, array), array.shape)}}}'.encode()
    members = (
        f"{_string(name)}: {_nested(_values(name, array), array.shape)}"
        for name, array in sorted(results.items())
    )
    return f'{{"outputs": {{{", ".join(members)}}}}}'.encode()


def _rows(results: Mapping[str, Array]) -> str:
    batch = -1
    for name, array in sorted(results.items()):
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch not in (-1, array.shape[0]):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]}"
                f" expecting: {batch}"
            )
        batch = array.shape[0]
    if len(results) == 1:
        [(name, array)] = results.items()
        return _nested(_values(name, array), array.shape)
    columns = [
        [f"{_string(name)}: {item}" for item in _items(_values(name, array), array.shape, 1)]
        for name, array in sorted(results.items())
    ]
    return "[" + ", ".join(f"{{{', '.join(row)}}}" for row in zip(*columns, strict=True)) + "]"


def _nested(values: list[str], shape: tuple[int, ...]) -> str:
    return _items(values, shape, 0)[0]


def _items(values: list[str], shape: tuple[int, ...], axis: int) -> list[str]:
    """Fold a flat list of values into the JSON texts of everything below an axis."""
    for level in range(len(shape) - 1, axis - 1, -1):
        width = shape[level]
        values = [
            f"[{', '.join(values[start * width : (start + 1) * width])}]"
            for start in range(prod(shape[:level]))
        ]
    return values


def _values(name: str, array: Array) -> list[str]:
    flat = array.reshape(-1)
    dtype = array.dtype
    if dtype == np.float32 or dtype == np.float64:
        return decimals(flat)
    if dtype == np.bool_:
        return ["true" if value else "false" for value in flat.tolist()]
    if dtype.kind in _NATIVE and dtype != np.uint16:
        return [str(value) for value in flat.tolist()]
    if dtype.kind in "OS":
        write = _bytes if name.endswith("_bytes") else _text
        return [write(value) for value in flat.tolist()]
    shown = _TENSORFLOW_NAMES.get(dtype.name, dtype.name)
    raise invalid(f"Failed to write JSON value for tensor type: {shown}")


def decimals(flat: Array) -> list[str]:
    """Write six digits where they give the number back, else all that it takes."""
    numbers = flat.tolist()
    texts = [f"{number:g}" for number in numbers]
    exact = (np.array([float(text) for text in texts], dtype=flat.dtype) == flat).tolist()
    digits = ".9g" if flat.dtype == np.float32 else ".17g"
    for index, text in enumerate(texts):
        if not exact[index] and text not in _NOT_FINITE:
            texts[index] = text = f"{numbers[index]:{digits}}"
        if "." not in text and "e" not in text:
            texts[index] = _NOT_FINITE.get(text) or f"{text}.0"
    return texts


def _string(value: str) -> str:
    return orjson.dumps(value).decode()


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return _string(value)


def _bytes(value: Any) -> str:
    data = value if isinstance(value, bytes) else str(value).encode()
    return f'{{"b64": "{base64.b64encode(data).decode("ascii")}"}}'
