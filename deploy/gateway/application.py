"""The scoring gateway: a bare ASGI application that passes requests to replicas untouched.

It stands beside Django, not behind its middleware: a request costs it a look into two caches, a
choice of a replica, and the copying of bytes.
"""

import asyncio
import logging
import re
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from deploy.events import ServiceName
from deploy.gateway.authorization import AuthorizedCall, Authorizer, unknown
from deploy.gateway.credentials import Credentials, Headers, credentials_of
from deploy.gateway.cross_origin import (
    CrossOriginResponse,
    HeaderList,
    is_preflight,
    preflight_headers,
    response_headers,
)
from deploy.gateway.deadlines import Deadlines
from deploy.gateway.errors import GatewayError
from deploy.gateway.forwarding import (
    ForwardedRequest,
    ResponseRecorder,
    ResponseTruncated,
    Send,
    send_request,
    stream_response,
)
from deploy.gateway.request_bodies import ClientGone, Receive, RequestBodies
from deploy.gateway.routes import RevisionRoute, Routes, ServiceRoute
from deploy.gateway.scale_from_zero import ServiceWaker
from deploy.gateway.shadowing import CopiedResponse, ShadowTraffic
from deploy.gateway.stuck_requests import StuckRequestMonitor
from deploy.gateway.traffic_split import pick_revision
from deploy.gateway.upstream import UpstreamLost, UpstreamMalformed, UpstreamPool, UpstreamRefused
from deploy.models import ServiceState
from deploy.traffic.counters import SERVER_ERROR, RevisionLabel
from deploy.traffic.recorder import TrafficRecorder
from deploy.traffic.request_log import RequestRecord

Scope = dict[str, Any]

RESPONSE_TIMEOUT_SECONDS = 60.0
MAX_IN_FLIGHT = 200
MAX_REPLICA_DEATHS = 2
MAX_CACHED_PATH = 512  # a thousand of them are kept, so that strangers cannot fill the memory
RETRY_SECONDS = b"1"
METHODS = {"GET", "POST", "OPTIONS"}
SCORE = re.compile(rb"/api/v1/teams/([^/]+)/services/([^/]+)/score/?")
SERVE = re.compile(rb"/serve/([^/]+)/([^/]+)(/v1/.*)")
log = logging.getLogger(__name__)


class Gateway:
    """Routes, grants and connections of one event loop, and the counters of what came."""

    def __init__(self) -> None:
        self.routes = Routes()
        self.access = Authorizer()
        self.pool = UpstreamPool()
        self.deadlines = Deadlines()
        self.bodies = RequestBodies()
        self.recorder = TrafficRecorder()
        self.waker = ServiceWaker(self.routes)
        self.stuck_requests = StuckRequestMonitor(self.pool)
        self.shadows = ShadowTraffic(self.pool, self.recorder.counters)
        self.in_flight: dict[int, int] = {}
        self.rejected: dict[int, int] = {}

    def open(self) -> None:
        """Start what goes on beside the requests."""
        self.recorder.open()
        self.stuck_requests.open()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.open()
        method: str = scope["method"]
        name, target = _path_of(scope)
        headers = scope["headers"]
        if is_preflight(method, headers) and await self._allows_page(name, target, headers, send):
            return
        if method not in METHODS or (not target and method != "POST"):
            allowed = b"GET, OPTIONS, POST" if target else b"POST"
            raise GatewayError(405, "Method not allowed", {b"allow": allowed})
        entry = await self.authorize(name, credentials_of(headers), scores=method == "POST")
        if entry.route.allowed_origins:
            send = CrossOriginResponse(send, response_headers(entry.route, headers))
        await self._within_limits(entry, ForwardedRequest(method, target, headers), receive, send)

    async def _allows_page(
        self, name: ServiceName, target: bytes, headers: Headers, send: Send
    ) -> bool:
        """Tell a browser, which sends no key yet, that a page may call a service, if it may."""
        route = await self.routes.find(name)
        allowed = preflight_headers(route, headers, b"GET, POST" if target else b"POST")
        if allowed:
            await send({"type": "http.response.start", "status": 204, "headers": allowed})
            await send({"type": "http.response.body"})
        return bool(allowed)

    async def cross_origin_headers(self, scope: Scope) -> HeaderList:
        """Return the headers that let a page of an allowed origin read an error."""
        try:
            route = await self.routes.find(_path_of(scope)[0])
        except GatewayError:
            return []
        return response_headers(route, scope["headers"])

    async def authorize(
        self, name: ServiceName, credentials: Credentials, *, scores: bool
    ) -> AuthorizedCall:
        """Let a caller in who may use a service, and whose key was not used too often."""
        try:
            route = await self.routes.find(name)
            entry = await self.access.check(name, route, credentials, scores=scores)
        except GatewayError as error:
            self.rejected[error.status] = self.rejected.get(error.status, 0) + 1
            raise
        key = entry.key
        if key is not None:
            seconds = self.recorder.key_uses.retry_after(key.pk, key.calls_per_minute)
            if seconds:
                raise self.count_unrouted(
                    name,
                    GatewayError(
                        429,
                        f"The {key.slot} key may be used {key.calls_per_minute} times a minute;"
                        f" try again in {seconds} s",
                        {b"retry-after": b"%d" % seconds},
                    ),
                )
        return entry

    def count_unrouted(self, name: ServiceName, error: GatewayError) -> GatewayError:
        """Count a request that came to no revision; gives the error back."""
        counters = self.recorder.counters.unrouted_for(*name)
        counters.count(error.status, 0.0, is_error=error.status >= SERVER_ERROR)
        return error

    def acquire_slot(self, entry: AuthorizedCall) -> None:
        """Count a request to a service in, if it has not too many under way."""
        at_once = self.in_flight.get(entry.route.service_id, 0)
        if at_once >= MAX_IN_FLIGHT:
            raise self.count_unrouted(
                entry.name,
                GatewayError(
                    429,
                    f"{MAX_IN_FLIGHT} requests to this service are already in progress",
                    {b"retry-after": RETRY_SECONDS},
                ),
            )
        self.in_flight[entry.route.service_id] = at_once + 1

    def release_slot(self, entry: AuthorizedCall) -> None:
        self.in_flight[entry.route.service_id] -= 1

    async def score(self, name: ServiceName, body: bytes, caller: str) -> tuple[int, bytes]:
        """Score for a page whose user was checked already; return the status and the answer."""
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

        entry = AuthorizedCall(name, route, caller)
        try:
            await self._within_limits(entry, ForwardedRequest("POST", b"", []), give, keep)
        except ResponseTruncated as error:
            raise GatewayError(502, f"The response was truncated: {error}") from error
        return status, b"".join(pieces)

    async def _within_limits(
        self, entry: AuthorizedCall, request: ForwardedRequest, receive: Receive, send: Send
    ) -> None:
        """Answer within the limits of time, and of how many a service may have at once."""
        task = self.deadlines.begin(RESPONSE_TIMEOUT_SECONDS)
        try:
            request.body = await self.bodies.read(receive)
            try:
                await self._with_slot(entry, request, send)
            finally:
                self.bodies.release(request.body)
        except asyncio.CancelledError:
            if not self.deadlines.has_expired(task):
                raise
            raise _too_late(request) from None
        finally:
            self.deadlines.end(task)

    async def _with_slot(
        self, entry: AuthorizedCall, request: ForwardedRequest, send: Send
    ) -> None:
        self.acquire_slot(entry)
        try:
            await self._pass_on(entry, request, send)
        finally:
            self.release_slot(entry)

    async def pick_revision(self, entry: AuthorizedCall, headers: Headers) -> RevisionRoute:
        """Return the revision that answers a request, waking a service that sleeps."""
        route = entry.route
        if route.is_scaled_to_zero:
            try:
                route = await self.waker.wait(entry.name, route)
            except GatewayError as error:
                raise self.count_unrouted(entry.name, error) from None
        if not route.revisions:
            raise self.count_unrouted(entry.name, _not_ready(route))
        return pick_revision(route.revisions, _affinity_key(entry, headers))

    async def _pass_on(self, entry: AuthorizedCall, request: ForwardedRequest, send: Send) -> None:
        """Pass a request to a revision, and to another one where none of its replicas answers."""
        chosen = await self.pick_revision(entry, request.headers)
        try:
            await self._forward_to_revision(entry, chosen, request, send)
        except NoReplicaAnswered as none:
            others = await self.fallbacks(entry, chosen)
            if not others or none.deaths >= MAX_REPLICA_DEATHS:
                raise
            await self._forward_to_revision(entry, pick_revision(others), request, send)

    async def fallbacks(self, entry: AuthorizedCall, chosen: RevisionRoute) -> list[RevisionRoute]:
        """Return who else may answer, by now, what no replica of a revision did."""
        route = await self.routes.find(entry.name)
        return [
            served
            for served in (route.revisions if route else ())
            if served.pk != chosen.pk or not set(served.replicas) <= set(chosen.replicas)
        ]

    async def _forward_to_revision(
        self, entry: AuthorizedCall, chosen: RevisionRoute, request: ForwardedRequest, send: Send
    ) -> None:
        """Pass a request to a revision and note how it went."""
        policy = entry.route.request_log
        shadow = entry.route.shadow if request.method == "POST" else None
        heard = None if shadow is None else CopiedResponse(send)
        copy = (
            ResponseRecorder(heard or send)
            if self.recorder.request_log.is_sampled(policy)
            else None
        )
        counters = self.recorder.counters.of(chosen.pk, RevisionLabel(*entry.name, chosen.number))
        began = counters.begin()
        status, error = 504, True
        try:
            await self._try_replicas(chosen, request, copy or heard or send)
            status, error = request.status, request.status >= SERVER_ERROR
            if shadow is not None and heard is not None:
                self.shadows.mirror(shadow, entry.name, request, heard)
        except GatewayError as refusal:
            status = refusal.status
            raise
        finally:
            took = counters.end(began, status, is_error=error)
            if copy is not None:
                self.recorder.request_log.add(
                    RequestRecord(
                        entry.route.service_id,
                        chosen.pk,
                        entry.principal,
                        status,
                        took,
                        request.body or b"",
                        copy.body,
                        frozenset(policy.redact),
                    )
                )

    async def _try_replicas(
        self, chosen: RevisionRoute, request: ForwardedRequest, send: Send
    ) -> None:
        for upstream in self.pool.by_load(chosen.replicas):
            upstream.in_flight += 1
            try:
                connection = await send_request(upstream, request)
                await stream_response(upstream, connection, request, send)
                return
            except UpstreamRefused:
                upstream.eject()
            except UpstreamLost:
                upstream.eject()
                # A request that ends the replica it comes to must not end them all.
                request.deaths += 1
                if request.deaths >= MAX_REPLICA_DEATHS:
                    break
            except UpstreamMalformed as error:
                upstream.eject()
                raise GatewayError(502, "Invalid HTTP response from the model server") from error
            finally:
                upstream.in_flight -= 1
        raise NoReplicaAnswered(request.deaths)


class NoReplicaAnswered(GatewayError):
    """No replica of a revision answered, of which some died over the request."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
        words = "No replica responded; try again"
        super().__init__(503, words, {b"retry-after": RETRY_SECONDS})


def _path_of(scope: Scope) -> tuple[ServiceName, bytes]:
    return _parse_path(scope.get("raw_path") or scope["path"].encode())


def _parse_path(path: bytes) -> tuple[ServiceName, bytes]:
    """Read a path: the service, and the path at its model server (none for scoring)."""
    return _parse_usual_path(path) if len(path) <= MAX_CACHED_PATH else _parse_any_path(path)


def _parse_any_path(path: bytes) -> tuple[ServiceName, bytes]:
    found = SCORE.fullmatch(path)
    if found:
        return ServiceName(found[1].decode("latin-1"), found[2].decode("latin-1")), b""
    found = SERVE.fullmatch(path)
    if found:
        return ServiceName(found[1].decode("latin-1"), found[2].decode("latin-1")), found[3]
    raise GatewayError(404, "Use /serve/TEAM/SERVICE/v1/models/MODEL:predict")


_parse_usual_path = lru_cache(maxsize=1024)(_parse_any_path)


def _affinity_key(entry: AuthorizedCall, headers: Headers) -> bytes:
    """Return what keeps a caller with a revision; nothing where chance decides."""
    sticky_by = entry.route.sticky_by
    if not sticky_by:
        return b""
    if sticky_by == "key":
        return str(entry.key.pk if entry.key else entry.principal).encode()
    wanted = sticky_by.lower().encode()
    return next((value for name, value in headers if name == wanted), b"")


def _too_late(request: ForwardedRequest) -> Exception:
    if request.body is None:
        return GatewayError(
            408,
            f"The request's body did not arrive within {RESPONSE_TIMEOUT_SECONDS:.0f} s",
            {b"connection": b"close"},
        )
    if request.has_begun:
        return ResponseTruncated(f"it did not finish within {RESPONSE_TIMEOUT_SECONDS:.0f} s")
    return GatewayError(504, f"The model did not answer within {RESPONSE_TIMEOUT_SECONDS:.0f} s")


def _not_ready(route: ServiceRoute) -> GatewayError:
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
    """Return the gateway of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _gateways.get(loop)
    if found is None:
        found = _gateways[loop] = Gateway()
    return found


async def close_gateway() -> None:
    """Write down what the gateway of the running event loop has not written yet."""
    found = _gateways.get(asyncio.get_running_loop())
    if found is not None:
        found.stuck_requests.close()
        await found.recorder.close()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    try:
        await gateway().answer(scope, receive, send)
    except GatewayError as error:
        await send_error(send, error, await gateway().cross_origin_headers(scope))
    except ResponseTruncated as error:
        # Ending without the rest makes the server close the connection, so the client knows.
        log.warning("The response to %s was truncated: %s", scope["path"], error)
    except ClientGone:
        return


async def send_error(send: Send, error: GatewayError, headers: Headers = ()) -> None:
    body = error.body
    own = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *error.headers.items(),
    ]
    shown = [*own, *headers]
    await send({"type": "http.response.start", "status": error.status, "headers": shown})
    await send({"type": "http.response.body", "body": body})
