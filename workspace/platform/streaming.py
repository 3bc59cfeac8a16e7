"""Answers that are made or read piece by piece, and that no browser will run."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import IO

from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

CHUNK_BYTES = 1024 * 1024
UNTRUSTED_CONTENT_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-cache",
}


def streaming_response(
    request: HttpRequest, pieces: Iterator[bytes], content_type: str, length: int | None = None
) -> HttpResponseBase:
    """Return an answer made of pieces, which a thread makes where the server is asynchronous."""
    answer: HttpResponseBase
    if length is not None and length <= CHUNK_BYTES:
        answer = HttpResponse(b"".join(pieces), content_type=content_type)
    elif isinstance(request, ASGIRequest):
        answer = StreamingHttpResponse(_from_thread(pieces), content_type=content_type)
    else:
        answer = StreamingHttpResponse(pieces, content_type=content_type)
    if length is not None:
        answer["Content-Length"] = str(length)
    for header, value in UNTRUSTED_CONTENT_HEADERS.items():
        answer[header] = value
    return answer


async def _from_thread(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(_next_piece, pieces)) is not None:
        yield piece


def _next_piece(pieces: Iterator[bytes]) -> bytes | None:
    """Make a piece, and keep no database connection until the next one is wanted."""
    try:
        return next(pieces, None)
    finally:
        close_old_connections()


def file_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what is left of a file, and close it after the last piece."""
    with file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
