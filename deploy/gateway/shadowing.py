"""Copies of requests for a shadow: what it answers is held against what was answered, no more.

A copy is sent once its request is answered, so nobody waits for it; past a few at once, and for
answers too large to compare, there are none.
"""

import asyncio
import json
import math
from typing import Any

from deploy.events import ServiceName
from deploy.gateway.forwarding import (
    ForwardedRequest,
    ResponseTruncated,
    Send,
    send_request,
    stream_response,
)
from deploy.gateway.routes import RevisionRoute
from deploy.gateway.upstream import UpstreamLost, UpstreamMalformed, UpstreamPool, UpstreamRefused
from deploy.traffic.counters import SERVER_ERROR, RevisionCounters, RevisionLabel, TrafficCounters

AT_ONCE = 16
LARGEST = 1024 * 1024
RESPONSE_TIMEOUT_SECONDS = 30.0
NO_ANSWER = 503
RELATIVE, ABSOLUTE = 1e-3, 1e-5


class CopiedResponse:
    """Passes an answer on and keeps a copy of it, unless it is too large."""

    def __init__(self, send: Send | None = None) -> None:
        self.status = 0
        self.is_whole = True
        self._pieces: list[bytes] = []
        self._size = 0
        self._send = send

    @property
    def body(self) -> bytes:
        return b"".join(self._pieces)

    async def __call__(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        piece = message.get("body", b"")
        self._size += len(piece)
        self.is_whole = self._size <= LARGEST
        if self.is_whole:
            self._pieces.append(piece)
        if self._send is not None:
            await self._send(message)


class ShadowTraffic:
    """Sends copies to shadows. Belongs to one event loop."""

    def __init__(self, pool: UpstreamPool, tallies: TrafficCounters) -> None:
        self._pool = pool
        self._tallies = tallies
        self._under_way: set[asyncio.Task[None]] = set()

    def mirror(
        self,
        shadow: RevisionRoute,
        name: ServiceName,
        request: ForwardedRequest,
        answer: CopiedResponse,
    ) -> None:
        """Ask a shadow what was just answered, if there is time for it."""
        is_small = answer.is_whole and len(request.body or b"") <= LARGEST
        if len(self._under_way) >= AT_ONCE or not is_small or answer.status >= SERVER_ERROR:
            return
        copy = ForwardedRequest(request.method, request.target, request.headers)
        copy.body = request.body
        counters = self._tallies.of(shadow.pk, RevisionLabel(*name, shadow.number))
        task = asyncio.get_running_loop().create_task(self._ask(shadow, counters, copy, answer))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _ask(
        self,
        shadow: RevisionRoute,
        counters: RevisionCounters,
        copy: ForwardedRequest,
        answer: CopiedResponse,
    ) -> None:
        began = counters.begin()
        heard = CopiedResponse()
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
                await self._exchange(shadow, copy, heard)
        except (UpstreamRefused, UpstreamLost, UpstreamMalformed, ResponseTruncated, TimeoutError):
            heard.status = NO_ANSWER
        except asyncio.CancelledError:
            counters.abandon()
            raise
        counters.end(began, heard.status, is_error=heard.status >= SERVER_ERROR)
        same = heard.status == answer.status and heard.is_whole
        if not same or not await asyncio.to_thread(are_alike, answer.body, heard.body):
            counters.mismatches += 1

    async def _exchange(
        self, shadow: RevisionRoute, copy: ForwardedRequest, heard: CopiedResponse
    ) -> None:
        upstream = self._pool.by_load(shadow.replicas)[0]
        upstream.in_flight += 1
        try:
            connection = await send_request(upstream, copy)
            await stream_response(upstream, connection, copy, heard)
        finally:
            upstream.in_flight -= 1


def are_alike(one: bytes, other: bytes) -> bool:
    """Return whether two answers say the same, but for the last digits of numbers."""
    if one == other:
        return True
    try:
        return _alike(json.loads(one), json.loads(other))
    except (ValueError, RecursionError):
        return False


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if _is_number(one) and _is_number(other):
        both_nan = one != one and other != other
        return both_nan or math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return type(one) is type(other) and bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
