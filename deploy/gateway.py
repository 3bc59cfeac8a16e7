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

from deploy.access import Access, Entry, unknown
from deploy.bodies import Bodies, ClientGone, Receive
from deploy.books import Books
from deploy.choosing import choose
from deploy.credentials import Credentials, Headers, credentials_of
from deploy.deadlines import Deadlines
from deploy.errors import GatewayError
from deploy.exchanges import Answer, CutShort, Request, Send, begin, pass_back
from deploy.hangs import Hangs
from deploy.models import ServiceState
from deploy.request_log import Kept
from deploy.routes import Name, Route, Routes, Served
from deploy.shadowing import Heard, Shadows
from deploy.traffic import SERVER_ERROR, Label
from deploy.upstream import Died, Garbled, Pool, Refused
from deploy.waking import Waking

Scope = dict[str, Any]

ANSWER_SECONDS = 60.0
MOST_IN_FLIGHT = 200
MOST_DEATHS = 2
RETRY_SECONDS = b"1"
METHODS = {"GET", "POST", "OPTIONS"}
SCORE = re.compile(rb"/api/v1/teams/([^/]+)/services/([^/]+)/score/?")
SERVE = re.compile(rb"/serve/([^/]+)/([^/]+)(/v1/.*)")
log = logging.getLogger(__name__)


class Gateway:
    """Routes, grants and connections of one event loop, and the books of what came."""

    def __init__(self) -> None:
        self.routes = Routes()
        self.access = Access()
        self.pool = Pool()
        self.deadlines = Deadlines()
        self.bodies = Bodies()
        self.books = Books()
        self.waking = Waking(self.routes)
        self.hangs = Hangs(self.pool)
        self.shadows = Shadows(self.pool, self.books.tallies)
        self.in_flight: dict[int, int] = {}
        self.refused: dict[int, int] = {}

    def open(self) -> None:
        """Start what goes on beside the requests."""
        self.books.open()
        self.hangs.open()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.open()
        method: str = scope["method"]
        name, target = _asked_for(scope.get("raw_path") or scope["path"].encode())
        if method not in METHODS or (not target and method != "POST"):
            allowed = b"GET, OPTIONS, POST" if target else b"POST"
            raise GatewayError(405, "This path does not know that method", {b"allow": allowed})
        headers = scope["headers"]
        entry = await self.enter(name, credentials_of(headers), scores=method == "POST")
        await self._within_limits(entry, Request(method, target, headers), receive, send)

    async def enter(self, name: Name, credentials: Credentials, *, scores: bool) -> Entry:
        """Let a caller in who may use a service, and whose key was not used too often."""
        try:
            route = await self.routes.find(name)
            entry = await self.access.check(name, route, credentials, scores=scores)
        except GatewayError as error:
            self.refused[error.status] = self.refused.get(error.status, 0) + 1
            raise
        key = entry.key
        if key is not None:
            seconds = self.books.key_uses.wait_for(key.pk, key.calls_per_minute)
            if seconds:
                raise self.unanswered(
                    name,
                    GatewayError(
                        429,
                        f"The {key.slot} key may be used {key.calls_per_minute} times a minute;"
                        f" try again in {seconds} s",
                        {b"retry-after": b"%d" % seconds},
                    ),
                )
        return entry

    def unanswered(self, name: Name, error: GatewayError) -> GatewayError:
        """Count a request that came to no revision; gives the error back."""
        tally = self.books.tallies.of_none(*name)
        tally.count(error.status, 0.0, is_error=error.status >= SERVER_ERROR)
        return error

    def take_place(self, entry: Entry) -> None:
        """Count a request to a service in, if it has not too many under way."""
        at_once = self.in_flight.get(entry.route.service_id, 0)
        if at_once >= MOST_IN_FLIGHT:
            raise self.unanswered(
                entry.name,
                GatewayError(
                    429,
                    f"{MOST_IN_FLIGHT} requests to this service are being answered already",
                    {b"retry-after": RETRY_SECONDS},
                ),
            )
        self.in_flight[entry.route.service_id] = at_once + 1

    def give_place(self, entry: Entry) -> None:
        self.in_flight[entry.route.service_id] -= 1

    async def score(self, name: Name, body: bytes, caller: str) -> tuple[int, bytes]:
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

        entry = Entry(name, route, caller)
        try:
            await self._within_limits(entry, Request("POST", b"", []), give, keep)
        except CutShort as error:
            raise GatewayError(502, f"The answer was cut short: {error}") from error
        return status, b"".join(pieces)

    async def _within_limits(
        self, entry: Entry, request: Request, receive: Receive, send: Send
    ) -> None:
        """Answer within the limits of time, and of how many a service may have at once."""
        task = self.deadlines.begin(ANSWER_SECONDS)
        try:
            request.body = await self.bodies.read(receive)
            try:
                await self._in_its_place(entry, request, send)
            finally:
                self.bodies.let_go(request.body)
        except asyncio.CancelledError:
            if not self.deadlines.has_expired(task):
                raise
            raise _too_late(request) from None
        finally:
            self.deadlines.end(task)

    async def _in_its_place(self, entry: Entry, request: Request, send: Send) -> None:
        self.take_place(entry)
        try:
            await self._pass_on(entry, request, send)
        finally:
            self.give_place(entry)

    async def choose(self, entry: Entry, headers: Headers) -> Served:
        """Give the revision that answers a request, waking a service that sleeps."""
        route = entry.route
        if route.is_asleep:
            try:
                route = await self.waking.wait(entry.name, route)
            except GatewayError as error:
                raise self.unanswered(entry.name, error) from None
        if not route.revisions:
            raise self.unanswered(entry.name, _not_ready(route))
        return choose(route.revisions, _stuck_to(entry, headers))

    async def _pass_on(self, entry: Entry, request: Request, send: Send) -> None:
        """Pass a request to a revision, and to another one where none of its replicas answers."""
        chosen = await self.choose(entry, request.headers)
        try:
            await self._ask(entry, chosen, request, send)
        except NoAnswer as none:
            others = await self.others(entry, chosen)
            if not others or none.deaths >= MOST_DEATHS:
                raise
            await self._ask(entry, choose(others), request, send)

    async def others(self, entry: Entry, chosen: Served) -> list[Served]:
        """Give who else may answer, by now, what no replica of a revision did."""
        route = await self.routes.find(entry.name)
        return [
            served
            for served in (route.revisions if route else ())
            if served.pk != chosen.pk or not set(served.replicas) <= set(chosen.replicas)
        ]

    async def _ask(self, entry: Entry, chosen: Served, request: Request, send: Send) -> None:
        """Pass a request to a revision and note how it went."""
        wish = entry.route.request_log
        shadow = entry.route.shadow if request.method == "POST" else None
        heard = None if shadow is None else Heard(send)
        copy = Answer(heard or send) if self.books.request_log.wants(wish) else None
        tally = self.books.tallies.of(chosen.pk, Label(*entry.name, chosen.number))
        began = tally.begin()
        status, error = 504, True
        try:
            await self._try_replicas(chosen, request, copy or heard or send)
            status, error = request.status, request.status >= SERVER_ERROR
            if shadow is not None and heard is not None:
                self.shadows.follow(shadow, entry.name, request, heard)
        except GatewayError as refusal:
            status = refusal.status
            raise
        finally:
            took = tally.end(began, status, is_error=error)
            if copy is not None:
                self.books.request_log.keep(
                    Kept(
                        entry.route.service_id,
                        chosen.pk,
                        entry.caller,
                        status,
                        took,
                        request.body or b"",
                        copy.body,
                        wish.redact,
                    )
                )

    async def _try_replicas(self, chosen: Served, request: Request, send: Send) -> None:
        for upstream in self.pool.in_order(chosen.replicas):
            upstream.in_flight += 1
            try:
                connection = await begin(upstream, request)
                await pass_back(upstream, connection, request, send)
                return
            except Refused:
                upstream.leave_out()
            except Died:
                upstream.leave_out()
                # A request that ends the replica it comes to must not end them all.
                request.deaths += 1
                if request.deaths >= MOST_DEATHS:
                    break
            except Garbled as error:
                upstream.leave_out()
                raise GatewayError(502, "The model server's answer is no HTTP") from error
            finally:
                upstream.in_flight -= 1
        raise NoAnswer(request.deaths)


class NoAnswer(GatewayError):
    """No replica of a revision answered, of which some died over the request."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
        words = "No replica of this service answered; try again"
        super().__init__(503, words, {b"retry-after": RETRY_SECONDS})


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


def _stuck_to(entry: Entry, headers: Headers) -> bytes:
    """Give what keeps a caller with a revision; nothing where chance decides."""
    sticky_by = entry.route.sticky_by
    if not sticky_by:
        return b""
    if sticky_by == "key":
        return str(entry.key.pk if entry.key else entry.caller).encode()
    wanted = sticky_by.lower().encode()
    return next((value for name, value in headers if name == wanted), b"")


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


async def close_gateway() -> None:
    """Write down what the gateway of the running event loop has not written yet."""
    found = _gateways.get(asyncio.get_running_loop())
    if found is not None:
        found.hangs.close()
        await found.books.close()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    try:
        await gateway().answer(scope, receive, send)
    except GatewayError as error:
        await refuse(send, error)
    except CutShort as error:
        # Ending without the rest makes the server close the connection, so the client knows.
        log.warning("The answer to %s was cut short: %s", scope["path"], error)
    except ClientGone:
        return


async def refuse(send: Send, error: GatewayError) -> None:
    body = error.body
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *error.headers.items(),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
