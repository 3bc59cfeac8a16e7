"""Send what is made or read piece by piece, without holding all of it in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import IO

CHUNK = 1 << 20


async def in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Make each piece in a thread, so that the event loop never waits for a disk."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """Give a file in pieces and close it after the last."""
    with file:
        while chunk := file.read(CHUNK):
            yield chunk
