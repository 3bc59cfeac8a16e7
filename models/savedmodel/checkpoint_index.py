"""What a checkpoint's index says of its shards, read without TensorFlow.

An index is a table of LevelDB's kind: blocks of sorted entries, a block that lists them, and a
footer. It comes from strangers, so every length in it is doubted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER = 48
MAX_ENTRIES = 1_000_000
MAX_KEY_LENGTH = 65_536
PLAIN = 0  # the kind of a block that is not compressed; TensorFlow writes no other
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class DamagedIndex(ValueError):
    """The bytes are no index, or only part of one."""


@dataclass(frozen=True)
class CheckpointIndex:
    """How many shards there are, and how long each has to be, as far as the index tells."""

    shard_count: int
    minimum_bytes: dict[int, int]


def read_index(content: bytes) -> CheckpointIndex:
    """Read an index. Raises DamagedIndex."""
    if len(content) < FOOTER or not content.endswith(MAGIC):
        raise DamagedIndex("It has no end.")
    footer = content[-FOOTER:]
    _, at = _handle(footer, 0)
    (offset, size), _ = _handle(footer, at)
    shard_count, least = 1, dict[int, int]()
    reached = count = 0
    for _, handle in _entries(_block(content, offset, size)):
        (offset, size), _ = _handle(handle, 0)
        if offset < reached:
            raise DamagedIndex("Blocks of it overlap.")
        reached = offset + size
        for key, value in _entries(_block(content, offset, size)):
            count += 1
            if count > MAX_ENTRIES:
                raise DamagedIndex("It lists more than any model has.")
            fields = dict(_fields(value))
            if not key:
                shard_count = fields.get(1, 1)
                continue
            shard, end = fields.get(3, 0), fields.get(4, 0) + fields.get(5, 0)
            least[shard] = max(end, least.get(shard, 0))
    if not 1 <= shard_count <= 99_999 or any(shard >= shard_count for shard in least):
        raise DamagedIndex("It names shards that cannot be.")
    return CheckpointIndex(shard_count, least)


def _block(content: bytes, offset: int, size: int) -> bytes:
    if offset + size >= len(content):
        raise DamagedIndex("A block lies beyond the end.")
    if content[offset + size] != PLAIN:
        raise DamagedIndex("A block is compressed, as TensorFlow never writes it.")
    return content[offset : offset + size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise DamagedIndex("A block is too short.")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise DamagedIndex("A block is too short.")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        added, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + added + length > end:
            raise DamagedIndex("An entry lies beyond the end of its block.")
        if shared + added > MAX_KEY_LENGTH:
            raise DamagedIndex("A name in it is too long.")
        key = key[:shared] + block[at : at + added]
        at += added
        yield key, block[at : at + length]
        at += length


def _handle(content: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(content, at)
    size, at = _varint(content, at)
    return (offset, size), at


def _fields(message: bytes) -> Iterator[tuple[int, int]]:
    """Yield the numbers in a protocol buffer by field, without what is nested."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
        elif kind == BYTES:
            length, at = _varint(message, at)
            at += length
        elif kind in (FIXED32, FIXED64):
            at += 4 if kind == FIXED32 else 8
        else:
            raise DamagedIndex("An entry cannot be read.")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(content):
            raise DamagedIndex("It ends in the middle of a number.")
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise DamagedIndex("A number in it is too long.")
