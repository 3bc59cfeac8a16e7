"""Answers that are made or read piece by piece, and that no browser will run."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import IO

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

PIECE = 1024 * 1024
HARMLESS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-cache",
}


def streamed(
    request: HttpRequest, pieces: Iterator[bytes], content_type: str, length: int | None = None
) -> HttpResponseBase:
    """Give an answer made of pieces, which a thread makes where the server is asynchronous."""
    answer: HttpResponseBase
    if length is not None and length <= PIECE:
        answer = HttpResponse(b"".join(pieces), content_type=content_type)
    elif isinstance(request, ASGIRequest):
        answer = StreamingHttpResponse(_from_thread(pieces), content_type=content_type)
    else:
        answer = StreamingHttpResponse(pieces, content_type=content_type)
    if length is not None:
        answer["Content-Length"] = str(length)
    for header, value in HARMLESS.items():
        answer[header] = value
    return answer


async def _from_thread(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """Give what is left of a file, and close it after the last piece."""
    with file:
        while piece := file.read(PIECE):
            yield piece
