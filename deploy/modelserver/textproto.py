"""Configuration files in protobuf's text format whose messages no package on PyPI defines."""

from functools import cache
from pathlib import Path
from typing import Any

from .errors import Code, ServingError, invalid

_PACKAGE = "tensorflow.serving"

# Message name to its fields: (name, number, type). A type with a dot is a message of another
# package, one in brackets is repeated.
_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "BatchingParameters": (
        ("max_batch_size", 1, "google.protobuf.Int64Value"),
        ("batch_timeout_micros", 2, "google.protobuf.Int64Value"),
        ("max_enqueued_batches", 3, "google.protobuf.Int64Value"),
        ("num_batch_threads", 4, "google.protobuf.Int64Value"),
        ("thread_pool_name", 5, "google.protobuf.StringValue"),
        ("allowed_batch_sizes", 6, "[int64]"),
        ("pad_variable_length_inputs", 7, "bool"),
        ("enable_large_batch_splitting", 8, "google.protobuf.BoolValue"),
        ("max_execution_batch_size", 9, "google.protobuf.Int64Value"),
    ),
    "SSLConfig": (
        ("server_key", 1, "string"),
        ("server_cert", 2, "string"),
        ("custom_ca", 3, "string"),
        ("client_verify", 4, "bool"),
    ),
    "PrometheusConfig": (("enable", 1, "bool"), ("path", 2, "string")),
    "MonitoringConfig": (("prometheus_config", 1, "PrometheusConfig"),),
}


def read_text_proto(path: Path, message: str) -> Any:
    """Return the message of this kind that a file holds; a ServingError says what is wrong."""
    return read_text_file(path, _class_of(message)())


def read_text_file(path: Path, into: Any) -> Any:
    """Fill a message with what a file says and return it; a ServingError says what is wrong."""
    from google.protobuf import text_format

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"{path}; {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise invalid(f"Invalid protobuf file: '{path}' (not UTF-8: {error.reason})") from error
    try:
        return text_format.Parse(text, into)
    except text_format.ParseError as error:
        raise invalid(f"Invalid protobuf file: '{path}' ({error})") from error


@cache
def _class_of(message: str) -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    made = descriptor_pb2.FileDescriptorProto(
        name="trainyard/serving_config.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    field_type = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        described = made.message_type.add(name=name)
        for field, number, kind in fields:
            bare = kind.strip("[]")
            added = described.field.add(name=field, number=number)
            added.label = field_type.LABEL_OPTIONAL if bare == kind else field_type.LABEL_REPEATED
            if bare.islower() and "." not in bare:
                added.type = getattr(field_type, f"TYPE_{bare.upper()}")
            else:
                added.type = field_type.TYPE_MESSAGE
                added.type_name = f".{bare}" if "." in bare else f".{_PACKAGE}.{bare}"
    # A pool of its own: elsewhere the same names may mean TensorFlow Serving's own descriptors.
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(made)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{message}"))
