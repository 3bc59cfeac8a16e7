"""One HTTP/1.1 connection: requests in, responses out, in order, within limits."""

import asyncio
import logging
import resource
from collections import deque
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import httptools

from ..memory import memory_left
from .messages import MAX_BODY, App, RestRequest, RestResponse
from .request_limits import TOO_LATE, HeadRefusal, RequestMeter, TimeLimits

log = logging.getLogger("modelserver")

MAX_WAITING = 16
TIMES = TimeLimits()
LINGER_SECONDS = 2.0
STALL_SECONDS = 30.0

MAX_OPEN_FILES = 2**20
RESERVED_FILES = 256
BODY_SHARE = 0.25

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}
_STATUS_LINES = {code: f"HTTP/1.1 {code} {text}\r\n".encode() for code, text in _REASONS.items()}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What all connections together may take."""

    connections: int = 1_000_000
    body_bytes: int = 2**40

    @classmethod
    def of_this_process(cls) -> "ConnectionLimits":
        """Open as many files as this process may, but for some, and fill a part of the memory."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = MAX_OPEN_FILES if most == resource.RLIM_INFINITY else min(most, MAX_OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
        left = memory_left() or 0
        return cls(max(64, files - RESERVED_FILES), max(2 * MAX_BODY, int(left * BODY_SHARE)))


class Connections:
    """All open connections: the clock that ends slow ones, and the way out for a shutdown."""

    def __init__(
        self, app: App, loop: asyncio.AbstractEventLoop, limits: ConnectionLimits | None = None
    ) -> None:
        self.app = app
        self.loop = loop
        self.date_line = b""
        self.is_closing = False
        self.open: dict[HttpConnection, None] = {}
        self.body_bytes = 0
        self.limits = limits or ConnectionLimits()
        self._all_closed = asyncio.Event()

    def make(self) -> "HttpConnection":
        return HttpConnection(self)

    async def keep_time(self) -> None:
        """Once a second, renew the Date header and drop whoever takes too long."""
        while True:
            self.date_line = f"Date: {formatdate(usegmt=True)}\r\n".encode()
            now = self.loop.time()
            for connection in list(self.open):
                connection.check(now)
            await asyncio.sleep(1)

    async def close(self, grace: float) -> bool:
        """Let requests in flight end; True when all did within the grace."""
        self.is_closing = True
        for connection in list(self.open):
            connection.close_when_done()
        if self.open:
            self._all_closed.clear()
            try:
                await asyncio.wait_for(self._all_closed.wait(), grace)
            except TimeoutError:
                return False
        return True

    def remember(self, connection: "HttpConnection") -> None:
        """Take one more; where that is one too many, let the oldest idle one go."""
        self.open[connection] = None
        if len(self.open) > self.limits.connections:
            idle = next((other for other in self.open if other.is_idle), connection)
            idle.drop()

    def forget(self, connection: "HttpConnection") -> None:
        self.open.pop(connection, None)
        if not self.open:
            self._all_closed.set()


class HttpConnection(asyncio.Protocol):
    """Parses requests and writes each answer before the next request is begun."""

    def __init__(self, connections: Connections) -> None:
        self._all = connections
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[RestRequest] = deque()
        self._busy = False
        self._pumping = False
        self._writable = True
        self._reading = True
        self._closing = False
        self._held = 0
        self._running = 0
        self._unread = 0
        self._unread_since = 0.0
        self._meter = RequestMeter(TIMES, connections.loop.time())
        self._refusal: RestResponse | None = None
        self._refused = False
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._chunks: list[bytes] = []
        self._body_bytes = 0
        self._is_gzip = False
        self._expects_continue = False
        self._origin = ""

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._all.remember(self)
        if self._all.is_closing:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        self._chunks.clear()
        # The body of a request that still runs is still there.
        self._let_go(self._held - self._running)
        self._all.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._refused or self._refusal is not None:
            return
        self._meter.received(len(data), self._all.loop.time())
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No protocol is switched to; the request was answered as plain HTTP.
            self._closing = True
        except httptools.HttpParserCallbackError:
            log.exception("A request could not be taken in")
            self._refusal = RestResponse.of_error(500, "Internal error; see the log")
        except httptools.HttpParserError as error:
            if self._refusal is None:
                self._refusal = RestResponse.of_error(400, f"Malformed HTTP request: {error}")
        self._refuse_head(self._meter.parsed())
        if self._refusal is not None and not self._busy and not self._waiting:
            self._end_with(self._refusal)

    def eof_received(self) -> bool:
        # A client may close its side and still read the answer.
        self._closing = True
        return self._busy or bool(self._waiting)

    def pause_writing(self) -> None:
        self._writable = False
        self._unread = 0

    def resume_writing(self) -> None:
        self._writable = True
        self._pump()

    # The parser's side.

    def on_message_begin(self) -> None:
        self._meter.message_begun()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._meter.url(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._refuse_head(self._meter.header(len(name) + len(value)))
        name = name.lower()
        if name == b"content-length":
            if value.isdigit() and (len(value) > 18 or int(value) > MAX_BODY):
                self._refuse_body()
        elif name == b"content-encoding":
            self._is_gzip = value.strip().lower() == b"gzip"
        elif name == b"expect":
            self._expects_continue = value.strip().lower() == b"100-continue"
        elif name == b"origin":
            self._origin = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._meter.headers_completed(self._all.loop.time())
        if self._expects_continue and self._transport and not self._busy and not self._refusal:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._meter.body(len(body), self._all.loop.time())
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY:
            self._refuse_body()
        elif self._all.body_bytes + len(body) > self._all.limits.body_bytes:
            self._refuse(429, "Too many large requests arrive at once; send this one again later")
        if self._refusal is None:
            self._chunks.append(body)
            self._held += len(body)
            self._all.body_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._refusal is not None:
            return
        request = RestRequest(
            self._parser.get_method().decode("latin-1"),
            self._url.decode("latin-1"),
            self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks),
            # A client of HTTP/1.0 would wait for a header that promises to keep the connection.
            self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0",
            self._is_gzip,
            self._origin,
        )
        self._meter.completed()
        self._begin()
        self._waiting.append(request)
        self._pump()
        if len(self._waiting) >= MAX_WAITING and self._transport:
            self._transport.pause_reading()
            self._reading = False

    # Answers.

    @property
    def is_idle(self) -> bool:
        """Whether no request has arrived or begun to arrive."""
        return not (self._busy or self._waiting or self._meter.in_message)

    def drop(self) -> None:
        """Close at once."""
        if self._transport:
            self._transport.abort()

    def check(self, now: float) -> None:
        """Drop a connection that has been quiet or slow for too long."""
        if not self._writable and self._transport:
            self._check_reader(self._transport, now)
            return
        if self._busy or self._waiting or now < self._meter.deadline:
            return
        if self._meter.has_begun and not self._refused:
            self._end_with(RestResponse.of_error(408, TOO_LATE))
        elif self._transport:
            self._transport.abort()

    def _check_reader(self, transport: asyncio.Transport, now: float) -> None:
        """Drop a client that has read nothing of its answers for too long."""
        unread = transport.get_write_buffer_size()
        if unread != self._unread:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since >= STALL_SECONDS:
            transport.abort()

    def close_when_done(self) -> None:
        """Close now, or after the requests that have arrived."""
        self._closing = True
        if not self._busy and not self._waiting and self._transport:
            self._transport.close()

    def _pump(self) -> None:
        """Answer what waits, one at a time; answers given at once don't recurse."""
        if self._pumping:
            return
        self._pumping = True
        while self._waiting and not self._busy and self._writable and self._transport:
            self._busy = True
            request = self._waiting.popleft()
            self._running = len(request.body)
            self._all.app(request, partial(self._send, request))
        self._pumping = False
        if not self._reading and len(self._waiting) < MAX_WAITING and self._transport:
            self._reading = True
            self._meter.was_not_read(self._all.loop.time())
            self._transport.resume_reading()

    def _send(self, request: RestRequest, response: RestResponse) -> None:
        self._busy = False
        self._let_go(self._running)
        self._running = 0
        if self._transport is None:
            return
        is_last = not request.keep_alive or (self._closing and not self._waiting)
        self._write(response, is_last, with_body=request.method != "HEAD")
        self._meter.answered(self._all.loop.time())
        if is_last:
            self._waiting.clear()
            self._transport.close()
        elif self._refusal is not None and not self._waiting:
            self._end_with(self._refusal)
        else:
            self._pump()

    def _let_go(self, size: int) -> None:
        """Count so many bytes of bodies less."""
        self._held -= size
        self._all.body_bytes -= size

    def _write(self, response: RestResponse, is_last: bool, *, with_body: bool = True) -> None:
        if self._transport is not None:
            self._transport.write(
                b"%sContent-Type: %s\r\nContent-Length: %d\r\n%s%s%s\r\n%s"
                % (
                    _STATUS_LINES[response.status],
                    response.content_type,
                    len(response.body),
                    self._all.date_line,
                    response.headers,
                    b"Connection: close\r\n" if is_last else b"",
                    response.body if with_body else b"",
                )
            )

    def _refuse_head(self, refusal: HeadRefusal | None) -> None:
        if refusal is not None:
            self._refuse(refusal.status, refusal.message)

    def _refuse_body(self) -> None:
        self._refuse(413, f"The request body is larger than {MAX_BODY // 2**20} MiB")

    def _refuse(self, status: int, message: str) -> None:
        if self._refusal is None:
            self._refusal = RestResponse.of_error(status, message)
            self._let_go(sum(map(len, self._chunks)))
            self._chunks.clear()

    def _end_with(self, response: RestResponse) -> None:
        """Answer and close, after a moment in which what the client still sends is thrown away.

        Closing at once would reset the connection, and the client would never read the answer.
        """
        self._refused = True
        self._write(response, is_last=True)
        self._meter.deadline = self._all.loop.time() + LINGER_SECONDS
        if self._transport and self._transport.can_write_eof():
            self._transport.write_eof()
