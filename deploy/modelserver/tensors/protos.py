"""TensorProtos and arrays: read as TensorFlow's Tensor::FromProto reads them, written as bytes.

A message is written straight into the wire format, so that a large tensor is copied once.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from threading import Lock
from typing import Any

import numpy as np

from ..errors import Code, ServingError, invalid
from ..memory import memory_left
from .arrays import MAX_RANK, Array

Piece = bytes | memoryview

# A tensor that repeats its last value may not grow beyond what could be sent.
MAX_BYTES = 2**31 - 1
# One that grows by more than this is made in a thread, and where there is memory for it.
LARGE = 2**24
# An empty string takes so much here and in TensorFlow.
STRING_BYTES = 32
# From here on a list of numbers is read from the wire format instead of one by one.
MANY = 256
# So many numbers at a time are spelled out, to stay in the processor's caches.
CHUNK = 16 * 1024

# By number in TensorFlow's DataType: numpy's name and the field with the values.
_TYPES = {
    1: ("float32", "float_val"),
    2: ("float64", "double_val"),
    3: ("int32", "int_val"),
    4: ("uint8", "int_val"),
    5: ("int16", "int_val"),
    6: ("int8", "int_val"),
    7: ("object", "string_val"),
    8: ("complex64", "scomplex_val"),
    9: ("int64", "int64_val"),
    10: ("bool", "bool_val"),
    17: ("uint16", "int_val"),
    18: ("complex128", "dcomplex_val"),
    19: ("float16", "half_val"),
    22: ("uint32", "uint32_val"),
    23: ("uint64", "uint64_val"),
}
# These have types that numpy doesn't know by itself.
_FOREIGN = {
    11: "int_val",
    12: "int_val",
    13: "int_val",
    14: "half_val",
    15: "int_val",
    16: "int_val",
    24: "float8_val",
    25: "float8_val",
    26: "float8_val",
    27: "float8_val",
    28: "float8_val",
    29: "int_val",
    30: "int_val",
    31: "int_val",
    32: "int_val",
}
_STRING = 7
_growing = Lock()
_FLOATS: dict[str, np.dtype[Any]] = {
    "float_val": np.dtype("<f4"),
    "double_val": np.dtype("<f8"),
    "scomplex_val": np.dtype("<f4"),
    "dcomplex_val": np.dtype("<f8"),
}
_WHOLE = {"int64_val": np.int64, "uint32_val": np.uint32, "uint64_val": np.uint64}


def read_tensor(proto: Any) -> Array:
    """Return the array that a TensorProto stands for; a ServingError says what is wrong with it."""
    dtype, field = _reading(proto.dtype)
    shape = _shape(proto.tensor_shape)
    count = prod(shape)
    if count * dtype.itemsize > MAX_BYTES:
        raise invalid(f"its shape asks for more than {MAX_BYTES} bytes")
    if not count:
        return np.empty(shape, dtype)
    content = proto.tensor_content
    if not content:
        return _filled(_typed(proto, field, dtype), count, dtype).reshape(shape)
    if proto.dtype == _STRING:
        return _listed_strings(content, count).reshape(shape)
    if len(content) != count * dtype.itemsize:
        raise invalid(
            f"tensor_content has {len(content)} bytes where its shape asks for"
            f" {count * dtype.itemsize}"
        )
    if dtype == np.bool_:
        flags: Array = np.frombuffer(content, np.uint8) != 0
        return flags.reshape(shape)
    return np.frombuffer(content, dtype).reshape(shape)


def is_large(proto: Any) -> bool:
    """Whether a TensorProto may stand for a large array, however small it is itself."""
    count: int = prod(dim.size for dim in proto.tensor_shape.dim)
    return count > LARGE // STRING_BYTES


def write_tensor(array: Array, *, as_content: bool) -> list[Piece]:
    """Return the wire format of an array's TensorProto, in pieces to be joined."""
    number, field = _writing(array.dtype)
    head = _head(number, array.shape)
    if not array.size:
        return [head]
    if number == _STRING:
        return [head, _strings(array)]
    if as_content:
        return [head, *delimited(_tag("tensor_content"), [_bytes_of(array)])]
    return [head, *delimited(_tag(field), [_packed(array, field)])]


def delimited(tag: bytes, pieces: Sequence[Piece]) -> list[Piece]:
    """Put the tag and the length of a field before its pieces."""
    return [tag, varint(sum(map(len, pieces))), *pieces]


def varint(number: int) -> bytes:
    """Write a number that is not negative, seven bits a byte."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


@lru_cache(maxsize=64)
def _reading(number: int) -> tuple[np.dtype[Any], str]:
    if number in _TYPES:
        name, field = _TYPES[number]
        return np.dtype(name), field
    if number in _FOREIGN:
        import tensorflow as tf

        try:
            return np.dtype(tf.dtypes.as_dtype(number).as_numpy_dtype), _FOREIGN[number]
        except (KeyError, TypeError):
            pass
    raise invalid(f"its dtype, {number}, is not one that can be sent")


@lru_cache(maxsize=64)
def _writing(dtype: np.dtype[Any]) -> tuple[int, str]:
    if dtype.kind in "OS":
        return _STRING, "string_val"
    for number, (name, field) in _TYPES.items():
        if dtype == np.dtype(name):
            return number, field
    import tensorflow as tf

    number = tf.dtypes.as_dtype(dtype).as_datatype_enum
    return number, _FOREIGN[number]


def _shape(proto: Any) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in proto.dim)
    if proto.unknown_rank or any(size < 0 for size in shape):
        raise invalid("its shape is not fully known")
    if len(shape) > MAX_RANK:
        raise invalid(f"it has more than {MAX_RANK} dimensions")
    return shape


def _typed(proto: Any, field: str, dtype: np.dtype[Any]) -> Array:
    """Read the field with one entry for each value."""
    values = getattr(proto, field)
    if field in _FLOATS:
        width = _FLOATS[field]
        numbers = (
            np.frombuffer(_from_wire(proto, field), width)
            if len(values) > MANY
            else np.array(values, width)
        )
        whole = len(numbers) - len(numbers) % (dtype.itemsize // width.itemsize)
        return numbers[:whole].view(dtype)
    if field == "string_val":
        strings = np.empty(len(values), object)
        strings[:] = values
        return strings
    if field == "float8_val":
        return np.frombuffer(values, dtype)
    if field == "bool_val":
        return np.fromiter(values, np.bool_, len(values))
    if field in _WHOLE:
        return np.fromiter(values, _WHOLE[field], len(values))
    # Narrow types keep the low bits of 32-bit entries.
    narrow = np.fromiter(values, np.int32, len(values)).astype(f"i{dtype.itemsize}")
    return narrow.view(dtype)


def _from_wire(proto: Any, field: str) -> memoryview:
    """Return a field's packed numbers: all of a message that has nothing else, less its head."""
    alone = type(proto)()
    getattr(alone, field).MergeFrom(getattr(proto, field))
    data = alone.SerializeToString()
    size = len(getattr(alone, field)) * _FLOATS[field].itemsize
    return memoryview(data)[len(data) - size :]


def _listed_strings(content: bytes, count: int) -> Array:
    """Split tensor_content of strings: all lengths first, then all bytes."""
    lengths: list[int] = []
    place = 0
    try:
        while len(lengths) < count:
            length = shift = 0
            while content[place] > 127:
                if shift == 63:
                    raise invalid("a length in its tensor_content is too long")
                length |= (content[place] & 127) << shift
                place, shift = place + 1, shift + 7
            lengths.append(length | content[place] << shift)
            place += 1
    except IndexError:
        raise invalid("its tensor_content ends too early") from None
    if place + sum(lengths) != len(content):
        raise invalid("its tensor_content is not as long as its strings")
    strings = np.empty(count, object)
    for index, length in enumerate(lengths):
        strings[index] = content[place : place + length]
        place += length
    return strings


def _filled(values: Array, count: int, dtype: np.dtype[Any]) -> Array:
    """Cut to the count, or repeat the last value up to it; no value means zeros."""
    given = len(values)
    if given >= count:
        return values[:count]
    size = (count - given) * (STRING_BYTES if dtype.kind == "O" else dtype.itemsize)
    if size <= LARGE:
        return _grown(values, count, dtype)
    # One at a time: only what has been written to counts as taken.
    with _growing:
        left = memory_left()
        if left is not None and size > left // 4:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED, "not enough memory for a tensor of its shape"
            )
        return _grown(values, count, dtype)


def _grown(values: Array, count: int, dtype: np.dtype[Any]) -> Array:
    given = len(values)
    filled = np.empty(count, dtype)
    filled[:given] = values
    if given:
        filled[given:] = values[-1]
    else:
        filled[:] = b"" if dtype.kind == "O" else np.zeros(1, dtype)
    return filled


@lru_cache(maxsize=1024)
def _head(number: int, shape: tuple[int, ...]) -> bytes:
    from tensorflow.core.framework import tensor_pb2

    proto = tensor_pb2.TensorProto(dtype=number)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    head: bytes = proto.SerializeToString()
    return head


@lru_cache(maxsize=64)
def _tag(field: str) -> bytes:
    from tensorflow.core.framework import tensor_pb2

    return varint(tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[field].number << 3 | 2)


def _strings(array: Array) -> bytes:
    from tensorflow.core.framework import tensor_pb2

    values = (value if isinstance(value, bytes) else str(value).encode() for value in array.flat)
    written: bytes = tensor_pb2.TensorProto(string_val=values).SerializeToString()
    return written


def _packed(array: Array, field: str) -> Piece:
    if field in _FLOATS or field == "float8_val":
        return _bytes_of(array)
    flat = np.ascontiguousarray(array).reshape(-1)
    if field == "half_val":
        flat = flat.view(np.uint16)
    elif field == "int_val":
        flat = flat.view(f"{'u' if _is_unsigned(array.dtype) else 'i'}{array.dtype.itemsize}")
    return b"".join(_varints(flat[start : start + CHUNK]) for start in range(0, flat.size, CHUNK))


def _is_unsigned(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "u" or (dtype.names or (dtype.name,))[0].startswith(("quint", "uint"))


def _varints(values: Array) -> bytes:
    """Write whole numbers in the variable-length form, negative ones with ten bytes."""
    rest = values.astype(np.uint64 if values.dtype.kind == "u" else np.int64).view(np.uint64)
    if int(rest.max()) < 128:
        return rest.astype(np.uint8).tobytes()
    width = (int(rest.max()).bit_length() + 6) // 7
    septets = np.empty((len(rest), width), np.uint8)
    is_used = np.empty((len(rest), width), np.bool_)
    is_used[:, 0] = True
    for column in range(width):
        septets[:, column] = rest & np.uint64(127)
        rest = rest >> np.uint64(7)
        more = rest != 0
        septets[more, column] |= 128
        if column + 1 < width:
            is_used[:, column + 1] = more
    return septets[is_used].tobytes()


def _bytes_of(array: Array) -> Piece:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
