"""Logs as HTTP answers, for runs and services alike."""

from collections.abc import Iterator
from typing import Annotated, Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from ninja import Query, Schema
from pydantic import Field

from runs.logs.log_file import Log, LogFile
from runs.logs.sources import LogSource
from workspace.platform.streaming import streaming_response

PIECE = 1024 * 1024
MAX_OFFSET = 2**53
Offset = Annotated[int, Query(0, ge=0, le=MAX_OFFSET)]
FirstLine = Annotated[int, Query(0, ge=-MAX_OFFSET, le=MAX_OFFSET)]
LineCount = Annotated[int, Query(500, ge=1, le=5000)]
SearchText = Annotated[str, Query(min_length=1, max_length=500)]
SearchFrom = Annotated[int, Query(0, ge=0, le=MAX_OFFSET, alias="from")]
MatchLimit = Annotated[int, Query(100, ge=1, le=1000)]


class LinesOut(Schema):
    """Lines of a log as a terminal shows them; `size` is the offset behind them for the websocket.

    `complete` tells whether the text behind them begins a new line.
    """

    first: int
    total: int
    lines: list[str]
    size: int
    complete: bool


class MatchOut(Schema):
    line: int
    text: str


class MatchesOut(Schema):
    """Lines that hold the text; unless `is_done`, ask again `from` `scanned_to` for more."""

    matches: list[MatchOut]
    scanned_to: int = Field(description="The line up to which the log was searched.")
    is_done: bool


def bytes_response(
    request: HttpRequest, watched: LogSource, offset: int, filename: str
) -> HttpResponseBase:
    """Return a log from `offset` on, as it is, with the offset behind it in X-Next-Offset."""
    log = watched.log
    if isinstance(log, LogFile):
        size = max(log.size(), offset)
        answer = streaming_response(
            request, _bytes_of(log, offset, size), "text/plain; charset=utf-8", size - offset
        )
    else:
        size = max(log.lines(0, 1).size, offset)
        answer = streaming_response(
            request, _texts_of(log, offset, size), "text/plain; charset=utf-8"
        )
    answer["X-Next-Offset"] = str(size)
    disposition = content_disposition_header(as_attachment=True, filename=filename)
    answer["Content-Disposition"] = disposition or "attachment"
    return answer


def lines_response(watched: LogSource, first: int, count: int) -> dict[str, Any]:
    found = watched.log.lines(first, count)
    return {
        "first": found.first,
        "total": found.total,
        "lines": found.lines,
        "size": found.size,
        "complete": found.is_complete,
    }


def search_response(watched: LogSource, query: str, first: int, limit: int) -> dict[str, Any]:
    found = watched.log.search(query, first, limit)
    return {
        "matches": [{"line": match.line, "text": match.text} for match in found.matches],
        "scanned_to": found.scanned_to,
        "is_done": found.is_done,
    }


def _bytes_of(log: LogFile, offset: int, size: int) -> Iterator[bytes]:
    while offset < size and (data := log.read(offset, min(PIECE, size - offset))):
        offset += len(data)
        yield data


def _texts_of(log: Log, offset: int, size: int) -> Iterator[bytes]:
    while offset < size and (chunk := log.chunk(offset, PIECE)):
        offset = chunk.next
        yield chunk.text.encode()
