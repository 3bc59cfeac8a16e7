"""A first gRPC request to a service, made up from its model's signature: a PredictRequest's bytes.

Written by hand: the package that has the message brings TensorFlow along.
"""

from deploy.contract.signatures import SignatureSpec, TensorSpec

# By their numbers in TensorFlow's DataType.
DATA_TYPES = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "string": 7,
    "complex64": 8,
    "int64": 9,
    "bool": 10,
    "bfloat16": 14,
    "uint16": 17,
    "complex128": 18,
    "float16": 19,
    "uint32": 22,
    "uint64": 23,
}
# Fields of the messages, all of them with a length before their bytes.
MODEL_SPEC, INPUTS = 1, 2
NAME, SIGNATURE_NAME = 1, 3
KEY, VALUE = 1, 2
SHAPE, STRING_VALUE = 2, 8
DIMENSION = 2


def predict_message(model: str, signature: SignatureSpec) -> bytes | None:
    """Return a request of zeros, false and texts; None where an input's type has no such value."""
    if any(tensor.dtype not in DATA_TYPES for tensor in signature.inputs):
        return None
    spec = _field(NAME, model.encode()) + _field(SIGNATURE_NAME, signature.name.encode())
    inputs = (
        _field(INPUTS, _field(KEY, tensor.name.encode()) + _field(VALUE, _tensor(tensor)))
        for tensor in signature.inputs
    )
    return _field(MODEL_SPEC, spec) + b"".join(inputs)


def _tensor(tensor: TensorSpec) -> bytes:
    """Write a TensorProto; the values that it leaves out are zeros, or the last one again."""
    dimensions = (_field(DIMENSION, b"\x08" + _varint(length)) for length in tensor.lengths)
    written = b"\x08" + _varint(DATA_TYPES[tensor.dtype]) + _field(SHAPE, b"".join(dimensions))
    if tensor.dtype == "string":
        written += _field(STRING_VALUE, b"" if tensor.takes_examples else b"text")
    return written


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Write a number that is not negative, seven bits a byte."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)
