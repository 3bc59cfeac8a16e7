"""HTTP of uvicorn that hands an answer to the kernel in one piece, and has limits for requests.

uvicorn writes the head and the body of an answer apart, and each write is a system call that wakes
the other side: a fifth of what the scoring gateway spends on a request. It also takes heads of any
size, and waits for a request for ever.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

from deploy.modelserver.http.request_limits import (
    TOO_LATE,
    HeadRefusal,
    RequestMeter,
    TimeLimits,
)

BUFFER_BYTES = 64 * 1024
# Browsers and runners far away have longer than the neighbours of a model server.
TIMES = TimeLimits(header_seconds=30.0, body_seconds=30.0, idle_seconds=90.0)
CHECK_INTERVAL_SECONDS = 5.0
LINGER_SECONDS = 2.0
DRAIN_SECONDS = 10.0


class CoalescingTransport:
    """A transport that holds what is written until the answer is complete or the loop turns."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._held_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._held:
            held = self._held
            self._held, self._held_bytes = [], 0
            self._transport.write(b"".join(held))

    def close(self) -> None:
        self.flush()
        self._transport.close()


class HeadRefused(Exception):
    """Stops the parser amid a request that will not be answered."""


class CoalescingHttpProtocol(HttpToolsProtocol):
    """One connection of a client."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._plain_transport = transport
        self._coalescing = CoalescingTransport(transport)
        self.transport = self._coalescing  # type: ignore[assignment]
        self._meter = RequestMeter(TIMES, self.loop.time())
        self._refusal: HeadRefusal | None = None
        self._is_ending = False
        self._look = self.loop.call_later(CHECK_INTERVAL_SECONDS, self._end_if_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        self._meter.received(len(data), self.loop.time())
        super().data_received(data)
        refusal = self._meter.parsed()
        if refusal is not None and not self._is_ending:
            self._end_with(refusal.status, refusal.message)

    def on_message_begin(self) -> None:
        self._meter.message_begun()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._meter.url(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._refusal = self._meter.header(len(name) + len(value))
        if self._refusal is not None:
            raise HeadRefused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._meter.headers_completed(self.loop.time())
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        deadline = self._meter.deadline
        self._meter.body(len(body), self.loop.time())
        if self.cycle.response_complete:
            self._meter.deadline = deadline
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._meter.completed()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._coalescing.flush()
        self._meter.answered(self.loop.time())
        if self._is_in_body:
            # Many clients read no answer before they have sent everything, but not for ever.
            self._meter.deadline = self.loop.time() + DRAIN_SECONDS
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        refusal = self._refusal or HeadRefusal(msg, HTTPStatus.BAD_REQUEST)
        self._end_with(refusal.status, refusal.message)

    def handle_websocket_upgrade(self) -> None:
        self._look.cancel()
        self.transport = self._plain_transport
        super().handle_websocket_upgrade()

    @property
    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _is_in_body(self) -> bool:
        return self._meter.in_message and not self._meter.in_headers

    def _end_if_late(self) -> None:
        """Part with a client that takes too long over its request."""
        now = self.loop.time()
        if self.flow.read_paused:
            self._meter.was_not_read(now)
        is_awaited = self._is_in_body or not self._is_busy
        if is_awaited and now >= self._meter.deadline:
            if self._meter.has_begun:
                self._end_with(HTTPStatus.REQUEST_TIMEOUT, TOO_LATE)
            else:
                self._plain_transport.close()
            return
        self._look = self.loop.call_later(CHECK_INTERVAL_SECONDS, self._end_if_late)

    def _end_with(self, status: int, message: str) -> None:
        """Say why, unless another answer is under way, and close once the client can read it.

        What it sends meanwhile is thrown away: closing at once would reset the connection, and the
        client would never read why.
        """
        self._is_ending = True
        self._coalescing.flush()
        if self._is_in_body:
            is_unanswered = not self.cycle.response_started and not self.pipeline
        else:
            is_unanswered = not self._is_busy
        if is_unanswered:
            self._plain_transport.write(_plain_response(status, message))
        if self._is_busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self._plain_transport.write_eof()
        self._look.cancel()
        self._look = self.loop.call_later(LINGER_SECONDS, self._plain_transport.abort)


class QuietWebSocketProtocol(WebSocketsSansIOProtocol):
    """A websocket that ends text which is no UTF-8 with its own code, without a traceback."""

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.fail(CloseCode.INVALID_DATA, "Text has to be UTF-8.")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()


def _plain_response(status: int, message: str) -> bytes:
    body = f"{message}.\r\n".encode()
    return (
        b"HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n"
        b"connection: close\r\n\r\n%s"
    ) % (status, HTTPStatus(status).phrase.encode(), len(body), body)
