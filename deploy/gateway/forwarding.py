"""Pass one request to a replica and its answer back, both untouched."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from deploy.gateway.credentials import Headers
from deploy.gateway.upstream import (
    Upstream,
    UpstreamConnection,
    UpstreamLost,
    UpstreamMalformed,
    UpstreamRefused,
)
from deploy.traffic.log_policy import LONGEST_KEPT

Send = Callable[[dict[str, Any]], Awaitable[None]]

# What is between two neighbours only, and what a model server has no business to see.
NOT_PASSED_ON = {
    b"authorization",
    b"connection",
    b"content-length",
    b"cookie",
    b"expect",
    b"host",
    b"keep-alive",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}


class ResponseTruncated(Exception):
    """The rest of an answer will not come, and the client has a part of it already."""


class ForwardedRequest:
    """A request on its way to some replica; `target` is empty for a model's predict path."""

    __slots__ = ("body", "deaths", "has_begun", "headers", "method", "status", "target")

    def __init__(self, method: str, target: bytes, headers: Headers) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body: bytes | None = None
        self.has_begun = False
        self.deaths = 0
        self.status = 0

    def bytes_for(self, upstream: Upstream) -> bytes:
        body = self.body or b""
        parts = [
            self.method.encode(),
            b" ",
            self.target or upstream.score_target,
            upstream.host_line,
            b"content-length: %d\r\n" % len(body),
        ]
        for name, value in self.headers:
            if name not in NOT_PASSED_ON:
                parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n", body)
        return b"".join(parts)


class ResponseRecorder:
    """Passes an answer on and keeps a copy of its start."""

    def __init__(self, send: Send) -> None:
        self.body = b""
        self._send = send

    async def __call__(self, message: dict[str, Any]) -> None:
        if len(self.body) <= LONGEST_KEPT:
            self.body += message.get("body", b"")
        await self._send(message)


async def send_request(upstream: Upstream, request: ForwardedRequest) -> UpstreamConnection:
    """Send a request and wait for the head of the answer.

    A kept connection that the model server has just closed is no sign of trouble: the request is
    sent once more on a new one.
    """
    content = request.bytes_for(upstream)
    connection = upstream.idle_connection()
    if connection is not None:
        try:
            return await _exchange(upstream, connection, content)
        except UpstreamLost:
            if connection.has_answered or upstream.is_ejected:
                raise
            try:
                anew = await upstream.connect()
            except UpstreamRefused as gone:
                # It may well be this request that ended it.
                raise UpstreamLost from gone
            return await _exchange(upstream, anew, content)
    return await _exchange(upstream, await upstream.connect(), content)


async def _exchange(
    upstream: Upstream, connection: UpstreamConnection, content: bytes
) -> UpstreamConnection:
    upstream.waiting[connection.close] = time.monotonic()
    try:
        connection.send(content)
        await connection.head()
    except BaseException:
        connection.close()
        raise
    finally:
        del upstream.waiting[connection.close]
    return connection


async def stream_response(
    upstream: Upstream, connection: UpstreamConnection, request: ForwardedRequest, send: Send
) -> None:
    try:
        piece = await connection.piece()
        request.has_begun = True
        request.status = connection.status
        await send(
            {
                "type": "http.response.start",
                "status": connection.status,
                "headers": connection.headers,
            }
        )
        while not connection.is_complete:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await connection.piece()
        await send({"type": "http.response.body", "body": piece})
    except (UpstreamLost, UpstreamMalformed) as error:
        if request.has_begun:
            raise ResponseTruncated("a replica died amid it") from error
        raise
    finally:
        upstream.release(connection)
