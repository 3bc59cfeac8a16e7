"""Read exactly what a stream should hold, and no more."""

from typing import Protocol

PIECE_BYTES = 256 * 1024


class Readable(Protocol):
    """Anything bytes can be read from, in pieces."""

    def read(self, size: int, /) -> bytes: ...


class BoundedReader:
    """The next `size` bytes of a longer stream. Raises EOFError where the stream ends before."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int, /) -> bytes:
        data = read_exactly(self._stream, min(size, self._left))
        self._left -= len(data)
        return data


def read_exactly(stream: Readable, size: int) -> bytes:
    """Return `size` bytes of a stream, or raise EOFError where there are fewer."""
    pieces = []
    while size > 0:
        piece = stream.read(size)
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def drain(stream: Readable) -> None:
    """Read a stream to its end."""
    while stream.read(PIECE_BYTES):
        pass
