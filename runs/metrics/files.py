"""Read scalars from the files that scripts write: TensorBoard event files and JSON lines.

Of TensorBoard only its protocol buffers are used: its reader cannot go on from an offset, and
importing it costs every job a quarter of a second.
"""

import json
import math
import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

JSON_LINES = "metrics.jsonl"
EVENTS = ".tfevents."
HEADER = struct.Struct("<QI")
FOOTER_BYTES = 4
LARGEST_RECORD = 256 * 1024 * 1024
LATEST = 253402300799.0  # the end of the year 9999
STEPS = range(-(2**63), 2**63)
# Where Keras has workers beside the chief write the same again, and deletes it at the end.
WORKERS_REPEAT = re.compile(r"workertemp_\d+")
FIELDS_OF_JSON = {"step", "time", "name", "value"}
WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# The type numbers of tensors that hold one real number, and how their bytes are packed.
PACKED = {1: "<f", 2: "<d", 3: "<i", 9: "<q", 19: "<e"}
LISTED = {1: "float_val", 2: "double_val", 3: "int_val", 9: "int64_val", 19: "half_val"}
HALF = 19


@dataclass(frozen=True)
class Scalar:
    name: str
    step: int
    at: float
    value: float


@dataclass
class FileScalars:
    """What a piece of a file held: `length` bytes are done with, `problem` is what was wrong."""

    scalars: list[Scalar] = field(default_factory=list)
    length: int = 0
    problem: str = ""
    is_damaged: bool = False


def holds_metrics(path: str) -> bool:
    *folders, name = PurePosixPath(path).parts
    if any(WORKERS_REPEAT.fullmatch(folder) for folder in folders):
        return False
    return EVENTS in name or name == JSON_LINES


def is_event_file(path: str) -> bool:
    """Return whether a path under logs/ names an event file of TensorBoard."""
    return EVENTS in PurePosixPath(path).name


def prefix_of(path: str) -> str:
    """Return what TensorBoard would put before the names in logs/<folders>/file."""
    folders = PurePosixPath(path).parts[1:-1]
    return "".join(f"{folder}/" for folder in folders)


def read(path: str, data: bytes, *, known: set[str], is_final: bool = False) -> FileScalars:
    """Read the whole records at the beginning of `data`.

    `known` are names that were scalars before: writers describe a series only once.
    """
    if PurePosixPath(path).name == JSON_LINES:
        return _read_lines(data, prefix_of(path), is_final=is_final)
    return _read_events(data, prefix_of(path), known)


def _read_events(data: bytes, prefix: str, known: set[str]) -> FileScalars:
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    reading = FileScalars()
    while len(data) - reading.length >= HEADER.size:
        length, checksum = HEADER.unpack_from(data, reading.length)
        start = reading.length + HEADER.size
        header = data[reading.length : reading.length + 8]
        if length > LARGEST_RECORD or _masked_crc(header) != checksum:
            return _damaged(reading)
        if start + length + FOOTER_BYTES > len(data):
            return reading
        try:
            event = Event.FromString(data[start : start + length])
        except DecodeError:
            return _damaged(reading)
        reading.scalars += _scalars_of(event, prefix, known)
        reading.length = start + length + FOOTER_BYTES
    return reading


def _damaged(reading: FileScalars) -> FileScalars:
    reading.problem = f"it is damaged {reading.length} bytes after the last good part"
    reading.is_damaged = True
    return reading


def _scalars_of(event: Any, prefix: str, known: set[str]) -> Iterator[Scalar]:
    for value in event.summary.value:
        name = prefix + value.tag
        number: float | None = None
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            number = value.simple_value
        elif kind == "tensor":
            plugin = value.metadata.plugin_data.plugin_name
            if plugin == "scalars" or (not plugin and name in known):
                number = _number_in(value.tensor)
        if number is not None:
            known.add(name)
            yield Scalar(name, event.step, event.wall_time, number)


def _number_in(tensor: Any) -> float | None:
    packed = PACKED.get(tensor.dtype)
    if packed is None or math.prod(axis.size for axis in tensor.tensor_shape.dim) != 1:
        return None
    if tensor.tensor_content:
        if len(tensor.tensor_content) != struct.calcsize(packed):
            return None
        return float(struct.unpack(packed, tensor.tensor_content)[0])
    listed = getattr(tensor, LISTED[tensor.dtype])
    # An empty list is how a tensor of zero is written.
    number = listed[0] if listed else 0
    if tensor.dtype == HALF:
        number = struct.unpack("<e", struct.pack("<H", number & 0xFFFF))[0]
    return float(number)


def _read_lines(data: bytes, prefix: str, *, is_final: bool) -> FileScalars:
    whole = len(data) if is_final else data.rfind(b"\n") + 1
    reading = FileScalars(length=whole)
    for line in data[:whole].split(b"\n"):
        if not line.strip():
            continue
        try:
            for scalar in _scalars_in(line, prefix):
                reading.scalars.append(scalar)
        except (ValueError, RecursionError) as error:
            reading.problem = reading.problem or f"the line {line[:80]!r} {error}"
    return reading


def _scalars_in(line: bytes, prefix: str) -> Iterator[Scalar]:
    """Yield what a line has of numbers. Raises ValueError where it has anything else or none."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(entry, dict):
        raise ValueError("is not a JSON object")
    step = entry.get("step")
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    if not isinstance(step, int) or isinstance(step, bool) or step not in STEPS:
        raise ValueError('has no "step" that is a whole number')
    at = _as_number(entry.get("time"))
    at = time.time() if at is None or not 0 <= at <= LATEST else at
    if "name" in entry and "value" in entry:
        values = {entry["name"]: entry["value"]} if isinstance(entry["name"], str) else {}
    else:
        values = {name: entry[name] for name in entry.keys() - FIELDS_OF_JSON}
    given = {name: value for name, value in sorted(values.items()) if value is not None}
    others = [name for name, value in given.items() if _as_number(value) is None]
    for name, value in given.items():
        if (number := _as_number(value)) is not None:
            yield Scalar(prefix + name, step, at, number)
    if others or not given:
        words = f"has a value of {others[0][:40]!r} that is not a number" if others else ""
        raise ValueError(words or "has no numbers")


def _as_number(value: object) -> float | None:
    if isinstance(value, str):
        return WORDS.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _masked_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE = [_crc_entry(byte) for byte in range(256)]
