"""HTTP of uvicorn that hands an answer to the kernel in one piece, and waits for no head forever.

uvicorn writes the head and the body of an answer apart, and each write is a system call that wakes
the other side: a fifth of what the scoring gateway spends on a request.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HELD_BYTES = 64 * 1024
HEAD_SECONDS = 90.0
LOOK_EVERY_SECONDS = 15.0
TOO_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\ncontent-length: 49\r\n"
    b"connection: close\r\n\r\nThe head of the request did not arrive in time.\r\n"
)


class JoinedWrites:
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
        if self._held_bytes > HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._held:
            held = self._held
            self._held, self._held_bytes = [], 0
            self._transport.write(b"".join(held))

    def close(self) -> None:
        self.flush()
        self._transport.close()


class HttpProtocol(HttpToolsProtocol):
    """One connection of a client."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._plain_transport = transport
        self._joined = JoinedWrites(transport)
        self.transport = self._joined  # type: ignore[assignment]
        self._waits_since = self.loop.time()
        self._has_begun = False
        self._look = self.loop.call_later(LOOK_EVERY_SECONDS, self._close_if_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._has_begun = True
        super().on_message_begin()

    def on_response_complete(self) -> None:
        self._joined.flush()
        self._waits_since = self.loop.time()
        self._has_begun = False
        super().on_response_complete()

    def _close_if_late(self) -> None:
        """Part with a client that takes too long over the head of its request."""
        is_busy = self.cycle is not None and not self.cycle.response_complete
        if not is_busy and self.loop.time() - self._waits_since > HEAD_SECONDS:
            if self._has_begun:
                self._plain_transport.write(TOO_LATE)
            self._plain_transport.close()
            return
        self._look = self.loop.call_later(LOOK_EVERY_SECONDS, self._close_if_late)

    def handle_websocket_upgrade(self) -> None:
        self._look.cancel()
        self.transport = self._plain_transport
        super().handle_websocket_upgrade()
