"""Speak HTTP/1.1 to model servers over connections that are kept open."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import httptools

from deploy.gateway.routes import ReplicaAddress

# What is between two neighbours only, and what the web server says of itself.
NOT_PASSED_BACK = {
    b"connection",
    b"date",
    b"keep-alive",
    b"proxy-authenticate",
    b"server",
    b"set-cookie",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
CONNECT_SECONDS = 2.0
EJECTION_SECONDS = 1.0
MOST_IDLE = 64
IDLE_SECONDS = 20.0
HELD_BYTES = 1024 * 1024
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
)
_closing: set[asyncio.Future[Any]] = set()


class UpstreamRefused(Exception):
    """The model server took no connection."""


class UpstreamLost(Exception):
    """The connection ended before the answer did."""


class UpstreamMalformed(Exception):
    """What came back is no HTTP answer."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to a model server, with at most one request on it at a time."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_complete = False
        self.has_answered = False
        self.keeps_alive = True
        self.idle_since = 0.0
        self._has_head = False
        self._pieces: list[bytes] = []
        self._held = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._is_paused = False
        self._parser = httptools.HttpResponseParser(self)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes) -> None:
        """Start an exchange."""
        if self._transport is None or not self.is_open:
            raise UpstreamLost
        self.headers = []
        self._pieces = []
        self._held = 0
        self.is_complete = self.has_answered = self._has_head = False
        self._error = None
        self._transport.write(request)

    async def head(self) -> None:
        """Wait until status and headers are there."""
        while not self._has_head:
            await self._more()

    async def piece(self) -> bytes:
        """Return the next bytes of the body, all that are there; nothing once it is complete."""
        while not self._pieces and not self.is_complete:
            await self._more()
        found = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        self._held = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return found

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.has_answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._error = UpstreamMalformed(str(error))
            self.close()
        if self._held > HELD_BYTES and self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._error is None:
            self._error = UpstreamLost()
        self._wake()

    # What the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower not in NOT_PASSED_BACK:
            self.headers.append((lower, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.keeps_alive = self._parser.should_keep_alive()
        # 100 Continue and its like are no answer yet.
        self._has_head = self.status >= 200
        if not self._has_head:
            self.headers = []

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        if self._has_head:
            self.is_complete = True


class Upstream:
    """A model server and the connections to it."""

    def __init__(self, address: ReplicaAddress) -> None:
        self.address = address
        self.score_target = f"/v1/models/{quote(address.model, safe='')}:predict".encode()
        self.host_line = f" HTTP/1.1\r\nhost: {address.host}:{address.port}\r\n".encode()
        self.in_flight = 0
        # What ends the waiting for an answer, and since when it is waited for.
        self.waiting: dict[Callable[[], object], float] = {}
        self.ejected_until = 0.0
        self.used_at = time.monotonic()
        self._idle: deque[UpstreamConnection] = deque()
        self._channel: Any = None

    def grpc_channel(self) -> Any:
        """Return the channel to its gRPC address, which connects by itself."""
        if self._channel is None:
            import grpc.aio

            self._channel = grpc.aio.insecure_channel(self.address.grpc, options=CHANNEL_OPTIONS)
        return self._channel

    def note_use(self) -> None:
        self.used_at = time.monotonic()

    def idle_connection(self) -> UpstreamConnection | None:
        """Return a connection that was used before, if one is free."""
        while self._idle:
            kept = self._idle.pop()
            if kept.is_open and time.monotonic() - kept.idle_since < IDLE_SECONDS:
                return kept
            kept.close()
        return None

    async def connect(self) -> UpstreamConnection:
        """Return a new connection."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    UpstreamConnection, self.address.host, self.address.port
                )
        except OSError as error:  # TimeoutError is one
            raise UpstreamRefused(str(error)) from error
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request if its exchange completed."""
        self.used_at = time.monotonic()
        whole = connection.is_complete and connection.keeps_alive and connection.is_open
        if whole and len(self._idle) < MOST_IDLE:
            connection.idle_since = self.used_at
            self._idle.append(connection)
        else:
            connection.close()

    def eject(self) -> None:
        """Prefer others for a moment; this one did not answer."""
        self.ejected_until = time.monotonic() + EJECTION_SECONDS

    @property
    def is_ejected(self) -> bool:
        return self.ejected_until > time.monotonic()

    def abort_waiting(self) -> None:
        """Have every request that waits for an answer to begin be tried elsewhere."""
        self.eject()
        for end in list(self.waiting):
            end()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
        if self._channel is not None:
            closing = asyncio.ensure_future(self._channel.close())
            _closing.add(closing)
            closing.add_done_callback(_closing.discard)


class UpstreamPool:
    """Every model server that requests went to lately."""

    def __init__(self) -> None:
        self._upstreams: dict[ReplicaAddress, Upstream] = {}

    def by_load(self, addresses: Sequence[ReplicaAddress]) -> list[Upstream]:
        """Return model servers in the order to try them: the least busy first, the lame last."""
        if len(addresses) == 1:
            return [self._of(addresses[0])]
        now = time.monotonic()
        upstreams = [self._of(address) for address in addresses]
        random.shuffle(upstreams)
        return sorted(upstreams, key=lambda each: (each.ejected_until > now, each.in_flight))

    def stuck(self, seconds: float) -> list[Upstream]:
        """Return the model servers that somebody has waited for longer than this."""
        since = time.monotonic() - seconds
        return [
            upstream
            for upstream in self._upstreams.values()
            if any(began < since for began in upstream.waiting.values())
        ]

    def _of(self, address: ReplicaAddress) -> Upstream:
        found = self._upstreams.get(address)
        if found is None:
            self._sweep()
            found = self._upstreams[address] = Upstream(address)
        return found

    def _sweep(self) -> None:
        """Forget model servers that nobody asks any more, when a new one comes."""
        for address, upstream in list(self._upstreams.items()):
            if not upstream.in_flight and time.monotonic() - upstream.used_at > IDLE_SECONDS:
                upstream.close()
                del self._upstreams[address]
