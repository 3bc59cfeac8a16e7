"""The scoring gateway: a bare ASGI application that passes requests to replicas untouched.

It stands beside Django, not behind its middleware: a request costs it a look into two caches, a
choice of a replica, and the copying of bytes.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings

from deploy.access import Access, unknown
from deploy.choosing import choose
from deploy.deadlines import Deadlines
from deploy.errors import GatewayError
from deploy.models import ServiceState
from deploy.routes import Name, Route, Routes
from deploy.upstream import Connection, Died, Garbled, Pool, Refused, Upstream

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

ANSWER_SECONDS = 60.0
MOST_IN_FLIGHT = 200
DRAIN_SECONDS = 10.0
DRAIN_TIMES = 8
RETRY_SECONDS = b"1"
METHODS = {"GET", "POST", "OPTIONS"}
SCORE = re.compile(rb"/api/v1/teams/([^/]+)/services/([^/]+)/score/?")
SERVE = re.compile(rb"/serve/([^/]+)/([^/]+)(/v1/.*)")
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
log = logging.getLogger(__name__)


class CutShort(Exception):
    """The rest of an answer will not come, and the client has a part of it already."""


class ClientGone(Exception):
    """The client went away before it had sent everything."""


class Request:
    """A request on its way to some replica; `target` is empty for a model's predict path."""

    __slots__ = ("body", "has_begun", "headers", "method", "target")

    def __init__(self, method: str, target: bytes, headers: Headers) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body: bytes | None = None
        self.has_begun = False

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


class Gateway:
    """Routes, grants and connections of one event loop."""

    def __init__(self) -> None:
        self.routes = Routes()
        self.access = Access()
        self.pool = Pool()
        self.deadlines = Deadlines()
        self.in_flight: dict[int, int] = {}

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        name, target = _asked_for(scope.get("raw_path") or scope["path"].encode())
        if method not in METHODS or (not target and method != "POST"):
            allowed = b"GET, OPTIONS, POST" if target else b"POST"
            raise GatewayError(405, "This path does not know that method", {b"allow": allowed})
        headers = scope["headers"]
        route = await self.access.check(
            name, await self.routes.find(name), _bearer(headers), scores=method == "POST"
        )
        await self._within_limits(route, Request(method, target, headers), receive, send)

    async def score(self, name: Name, body: bytes) -> tuple[int, bytes]:
        """Score for a page whose user was checked already; give the status and the answer."""
        route = await self.routes.find(name)
        if route is None:
            raise unknown(name)
        pieces: list[bytes] = []
        status = 0

        async def give() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def keep(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            pieces.append(message.get("body", b""))

        try:
            await self._within_limits(route, Request("POST", b"", []), give, keep)
        except CutShort as error:
            raise GatewayError(502, f"The answer was cut short: {error}") from error
        return status, b"".join(pieces)

    async def _within_limits(
        self, route: Route, request: Request, receive: Receive, send: Send
    ) -> None:
        """Answer within the limits of time, and of how many a service may have at once."""
        at_once = self.in_flight.get(route.service_id, 0)
        if at_once >= MOST_IN_FLIGHT:
            raise GatewayError(
                429,
                f"{MOST_IN_FLIGHT} requests to this service are being answered already",
                {b"retry-after": RETRY_SECONDS},
            )
        self.in_flight[route.service_id] = at_once + 1
        task = self.deadlines.begin(ANSWER_SECONDS)
        try:
            request.body = await _read_body(receive)
            await self._pass_on(route, request, send)
        except asyncio.CancelledError:
            if not self.deadlines.has_expired(task):
                raise
            raise _too_late(request) from None
        finally:
            self.deadlines.end(task)
            self.in_flight[route.service_id] -= 1

    async def _pass_on(self, route: Route, request: Request, send: Send) -> None:
        if not route.revisions:
            raise _not_ready(route)
        may_repeat = True
        chosen = choose(route.revisions)
        for upstream in self.pool.in_order(chosen.replicas):
            upstream.in_flight += 1
            try:
                connection = await _begin(upstream, request)
                await _pass_back(upstream, connection, request, send)
                return
            except Refused:
                upstream.leave_out()
            except Died:
                upstream.leave_out()
                # A request that ends the replica it comes to must not end them all.
                if not may_repeat:
                    break
                may_repeat = False
            except Garbled as error:
                raise GatewayError(502, "The model server's answer is no HTTP") from error
            finally:
                upstream.in_flight -= 1
        raise GatewayError(
            503,
            "No replica of this service answered; try again",
            {b"retry-after": RETRY_SECONDS},
        )


async def _begin(upstream: Upstream, request: Request) -> Connection:
    """Send a request and wait for the head of the answer.

    A kept connection that the model server has just closed is no sign of trouble: the request is
    sent once more on a new one.
    """
    content = request.bytes_for(upstream)
    connection = upstream.idle_connection()
    if connection is not None:
        try:
            return await _exchange(connection, content)
        except Died:
            if connection.has_answered:
                raise
    return await _exchange(await upstream.connect(), content)


async def _exchange(connection: Connection, content: bytes) -> Connection:
    try:
        connection.send(content)
        await connection.head()
    except BaseException:
        connection.close()
        raise
    return connection


async def _pass_back(
    upstream: Upstream, connection: Connection, request: Request, send: Send
) -> None:
    try:
        piece = await connection.piece()
        request.has_begun = True
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
    except (Died, Garbled) as error:
        if request.has_begun:
            raise CutShort("a replica died amid it") from error
        raise
    finally:
        upstream.give_back(connection)


@lru_cache(maxsize=1024)
def _asked_for(path: bytes) -> tuple[Name, bytes]:
    """Read a path: the service, and the path at its model server (none for scoring)."""
    found = SCORE.fullmatch(path)
    if found:
        return Name(found[1].decode("latin-1"), found[2].decode("latin-1")), b""
    found = SERVE.fullmatch(path)
    if found:
        return Name(found[1].decode("latin-1"), found[2].decode("latin-1")), found[3]
    raise GatewayError(404, "Use /serve/TEAM/SERVICE/v1/models/MODEL:predict")


def _bearer(headers: Headers) -> str:
    for name, value in headers:
        if name == b"authorization":
            scheme, _, secret = value.decode("latin-1").partition(" ")
            return secret.strip() if scheme.lower() == "bearer" else ""
    return ""


async def _read_body(receive: Receive) -> bytes:
    limit: int = settings.TRAINYARD_SCORE_MAX_BYTES
    pieces: list[bytes] = []
    size = 0
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        has_more = message.get("more_body", False)
        size += len(piece)
        if size > limit:
            await _drain(receive, has_more=has_more, most=DRAIN_TIMES * limit)
            raise _too_large(limit)
        pieces.append(piece)
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


def _too_large(limit: int) -> GatewayError:
    return GatewayError(
        413,
        f"The request's body has more than the {limit:,} bytes allowed; send fewer instances at a"
        " time",
        {b"connection": b"close"},
    )


def _too_late(request: Request) -> Exception:
    if request.body is None:
        return GatewayError(
            408,
            f"The request's body did not arrive within {ANSWER_SECONDS:.0f} s",
            {b"connection": b"close"},
        )
    if request.has_begun:
        return CutShort(f"it was not over within {ANSWER_SECONDS:.0f} s")
    return GatewayError(504, f"The model did not answer within {ANSWER_SECONDS:.0f} s")


def _not_ready(route: Route) -> GatewayError:
    if route.state == ServiceState.STOPPED:
        return GatewayError(503, "This service is stopped; start it on its page")
    because = f": {route.reason.splitlines()[0]}" if route.reason else ""
    return GatewayError(
        503,
        f"This service is not ready, it is {route.state}{because}",
        {b"retry-after": RETRY_SECONDS},
    )


_gateways: WeakKeyDictionary[asyncio.AbstractEventLoop, Gateway] = WeakKeyDictionary()


def gateway() -> Gateway:
    """Give the gateway of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _gateways.get(loop)
    if found is None:
        found = _gateways[loop] = Gateway()
    return found


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    try:
        await gateway().answer(scope, receive, send)
    except GatewayError as error:
        await _refuse(send, error)
    except CutShort as error:
        # Ending without the rest makes the server close the connection, so the client knows.
        log.warning("The answer to %s was cut short: %s", scope["path"], error)
    except ClientGone:
        return


async def _refuse(send: Send, error: GatewayError) -> None:
    body = error.body
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *error.headers.items(),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
