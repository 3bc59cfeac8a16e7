"""The scoring gateway: a bare ASGI application that passes requests to replicas untouched.

It stands beside Django, not behind its middleware: a request costs it a look into two caches, a
choice of a replica, and the copying of bytes.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from django.conf import settings

from deploy.access import Access, unknown
from deploy.errors import GatewayError
from deploy.models import ServiceState
from deploy.routes import Address, Name, Route, Routes
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
log = logging.getLogger(__name__)


class Request:
    """A request on its way to some replica; `target` is empty for a model's predict path."""

    __slots__ = ("body", "headers", "method", "target")

    def __init__(self, method: str, target: bytes, headers: Headers, body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body

    def bytes_for(self, address: Address) -> bytes:
        target = self.target or f"/v1/models/{quote(address.model, safe='')}:predict".encode()
        lines = [
            b"%s %s HTTP/1.1\r\nhost: %s:%d\r\ncontent-length: %d\r\n"
            % (
                self.method.encode(),
                target,
                address.host.encode(),
                address.port,
                len(self.body),
            )
        ]
        lines += [
            b"%s: %s\r\n" % (name, value)
            for name, value in self.headers
            if name not in NOT_PASSED_ON
        ]
        return b"".join([*lines, b"\r\n", self.body])


class Gateway:
    """Routes, grants and connections of one event loop."""

    def __init__(self) -> None:
        self.routes = Routes()
        self.access = Access()
        self.pool = Pool()
        self.in_flight: Counter[int] = Counter()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        name, target = _asked_for(scope)
        if scope["method"] not in METHODS or (not target and scope["method"] != "POST"):
            allowed = b"GET, OPTIONS, POST" if target else b"POST"
            raise GatewayError(405, "This path does not know that method", {b"allow": allowed})
        route = await self.access.check(
            name,
            await self.routes.find(name),
            _bearer(scope["headers"]),
            scores=scope["method"] == "POST",
        )
        if self.in_flight[route.service_id] >= MOST_IN_FLIGHT:
            raise GatewayError(
                429,
                f"{MOST_IN_FLIGHT} requests to this service are being answered already",
                {b"retry-after": RETRY_SECONDS},
            )
        self.in_flight[route.service_id] += 1
        try:
            body = await _read_body(receive)
            request = Request(scope["method"], target, scope["headers"], body)
            await self._pass_on(route, request, send)
        finally:
            self.in_flight[route.service_id] -= 1

    async def score(self, name: Name, body: bytes) -> tuple[int, bytes]:
        """Score for a page whose user was checked already; give the status and the answer."""
        route = await self.routes.find(name)
        if route is None:
            raise unknown(name)
        if len(body) > settings.TRAINYARD_SCORE_MAX_BYTES:
            raise too_large()
        pieces: list[bytes] = []
        status = 0

        async def keep(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            pieces.append(message.get("body", b""))

        await self._pass_on(route, Request("POST", b"", [], body), keep)
        return status, b"".join(pieces)

    async def _pass_on(self, route: Route, request: Request, send: Send) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS) as limit:
                await self._try_each(route, request, send)
        except TimeoutError:
            if not limit.expired():
                raise
            raise GatewayError(
                504, f"The model did not answer within {ANSWER_SECONDS:.0f} s"
            ) from None

    async def _try_each(self, route: Route, request: Request, send: Send) -> None:
        if not route.replicas:
            raise _not_ready(route)
        may_repeat = True
        for upstream in self.pool.in_order(route.replicas):
            upstream.in_flight += 1
            try:
                connection = await _begin(upstream, request)
                await _pass_back(upstream, connection, send)
                return
            except Refused:
                upstream.leave_out()
            except Died:
                upstream.leave_out()
                # A request that ends the replica it comes to must not end them all.
                if not may_repeat:
                    break
                may_repeat = False
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
    content = request.bytes_for(upstream.address)
    connection, was_used = await upstream.connect()
    try:
        try:
            connection.send(content)
            await connection.head()
        except Died:
            if not was_used or connection.has_answered:
                raise
            connection, _ = await upstream.connect(fresh=True)
            connection.send(content)
            await connection.head()
    except Garbled as error:
        connection.close()
        raise GatewayError(502, "The model server's answer is no HTTP") from error
    except BaseException:
        connection.close()
        raise
    return connection


class CutShort(Exception):
    """The model server died amid its answer, of which the client has a part already."""


async def _pass_back(upstream: Upstream, connection: Connection, send: Send) -> None:
    try:
        piece = await connection.piece()
        headers = [header for header in connection.headers if header[0] not in NOT_PASSED_BACK]
        await send({"type": "http.response.start", "status": connection.status, "headers": headers})
        try:
            while not connection.is_complete:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await connection.piece()
        except (Died, Garbled) as error:
            raise CutShort from error
        await send({"type": "http.response.body", "body": piece})
    finally:
        upstream.give_back(connection)


def _asked_for(scope: Scope) -> tuple[Name, bytes]:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
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
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await _whole_body(receive)
    except TimeoutError:
        raise GatewayError(
            408,
            f"The request's body did not arrive within {ANSWER_SECONDS:.0f} s",
            {b"connection": b"close"},
        ) from None


async def _whole_body(receive: Receive) -> bytes:
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
            raise too_large()
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


class ClientGone(Exception):
    """The client went away before it had sent everything."""


def too_large() -> GatewayError:
    limit = settings.TRAINYARD_SCORE_MAX_BYTES
    return GatewayError(
        413,
        f"The request's body has more than the {limit:,} bytes allowed; send fewer instances at a"
        " time",
        {b"connection": b"close"},
    )


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
    has_begun = False

    async def watched(message: dict[str, Any]) -> None:
        nonlocal has_begun
        has_begun = True
        await send(message)

    try:
        await gateway().answer(scope, receive, watched)
    except GatewayError as error:
        if has_begun:
            log.warning("An answer had to be cut short: %s", error)
        else:
            await _refuse(send, error)
    except CutShort:
        # Ending without the rest makes the server close the connection, so the client knows.
        log.warning("A replica died amid its answer to %s", scope["path"])
    except ClientGone:
        return


async def _refuse(send: Send, error: GatewayError) -> None:
    body = error.body
    headers: Sequence[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *error.headers.items(),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
