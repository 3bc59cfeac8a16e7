"""Take in the bodies of requests, none larger than is allowed, nor all together."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from deploy.gateway.errors import GatewayError

Receive = Callable[[], Awaitable[dict[str, Any]]]

MAX_HELD_BYTES = 1024**3
DRAIN_SECONDS = 10.0
DRAIN_TIMES = 8


class ClientGone(Exception):
    """The client went away before it had sent everything."""


class RequestBodies:
    """Bodies on their way in, or in hand. One that comes slowly takes room as it comes."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, receive: Receive) -> bytes:
        """Return a whole body, to be released later.

        Raises GatewayError for one too large, or too many at once.
        """
        limit: int = settings.TRAINYARD_SCORE_MAX_BYTES
        message = await receive()
        piece: bytes = message.get("body", b"")
        is_whole = message["type"] == "http.request" and not message.get("more_body")
        if is_whole and len(piece) <= min(limit, MAX_HELD_BYTES - self._held):
            self._held += len(piece)
            return piece
        return await self._read_on(message, receive, limit)

    def hold(self, body: bytes) -> None:
        """Count a body in that arrived another way, to be released later. Raises GatewayError."""
        if self._held + len(body) > MAX_HELD_BYTES:
            raise _too_many()
        self._held += len(body)

    def release(self, body: bytes) -> None:
        self._held -= len(body)

    async def _read_on(self, message: dict[str, Any], receive: Receive, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        has_more = True
        try:
            while has_more:
                if message["type"] == "http.disconnect":
                    raise ClientGone
                piece = message.get("body", b"")
                has_more = message.get("more_body", False)
                size += len(piece)
                self._held += len(piece)
                if size > limit:
                    pieces.clear()
                    await _drain(receive, has_more=has_more, most=DRAIN_TIMES * limit)
                    raise _too_large(limit)
                if self._held > MAX_HELD_BYTES:
                    raise _too_many()
                pieces.append(piece)
                if has_more:
                    message = await receive()
        except BaseException:
            self._held -= size
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _drain(receive: Receive, *, has_more: bool, most: int) -> None:
    """Let a client finish sending, within reason: until then many do not read the answer."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while has_more and most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                has_more = message.get("more_body", False)
    except TimeoutError:
        return


def _too_many() -> GatewayError:
    return GatewayError(
        429,
        "Too many large requests are arriving at once; try again",
        {b"retry-after": b"1", b"connection": b"close"},
    )


def _too_large(limit: int) -> GatewayError:
    return GatewayError(
        413,
        f"The request's body has more than the {limit:,} bytes allowed; send fewer instances at a"
        " time",
        {b"connection": b"close"},
    )
