"""The websocket of a run: who may watch, which logs they follow, and when it is closed."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone

from runs.events import group_of_run
from runs.live.feeds import FeedSource, FeedSubscriber
from runs.live.messages import (
    WebsocketMessage,
    process_status_messages,
    run_status_message,
    usage_messages,
)
from runs.logs.sources import LogSource, logs_of_run
from runs.metrics import series, usage
from runs.models import Run
from runs.selectors import processes_of_run, run_of
from workspace.accounts.passwords import HAS_ONE_TIME_PASSWORD
from workspace.accounts.selectors import team_for
from workspace.accounts.tokens import usable_token
from workspace.models import Team
from workspace.platform.database_threads import run_in_database_thread
from workspace.platform.errors import DomainError

CHECK_ACCESS_SECONDS = 2.0
FORGET_CHECK_SECONDS = 60.0
CLOSE_TIMEOUT_SECONDS = 5.0
MAX_FRAME = 4096
MAX_OFFSETS = 200
MAX_OFFSET = 2**53
FOLLOWED = re.compile(r"\*|[a-z]+(-[0-9]{1,9}){0,2}", re.ASCII)
WRONG_KIND, NOT_UNDERSTOOD, REFUSED, TOO_BIG = 1003, 1007, 1008, 1009
BAD_OFFSETS = 'offsets must be like {"worker-0": 0}.'

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_checks: dict[tuple[str, str, str], tuple[float, asyncio.Task[FeedSource | None]]] = {}


class CloseReason(NamedTuple):
    """Why a socket is closed."""

    code: int
    reason: str


@dataclass
class RunFeedSource:
    """A run, as a source of messages for its watchers."""

    run_id: int
    channel: str = field(init=False)

    def __post_init__(self) -> None:
        self.channel = group_of_run(self.run_id)

    def messages(self, kinds: frozenset[str]) -> list[WebsocketMessage]:
        run = Run.objects.get(pk=self.run_id)
        messages: list[WebsocketMessage] = []
        if kinds & {"event", "process"}:
            messages.append(run_status_message(run, timezone.now()))
            messages += process_status_messages(processes_of_run(run))
        if "usage" in kinds:
            messages += usage_messages(usage.newest(processes_of_run(run)))
        return messages

    def metric_steps(self) -> dict[str, int]:
        return series.last_steps(self.run_id)

    def logs(self) -> dict[str, LogSource]:
        return logs_of_run(Run.objects.select_related("environment").get(pk=self.run_id))


async def watch_run(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one watcher of a run until it disconnects or loses access."""
    kwargs = scope["url_route"]["kwargs"]

    def find(user: User) -> FeedSource:
        team: Team = team_for(user, kwargs["slug"])
        return RunFeedSource(run_of(team, int(kwargs["number"])).pk)

    await watch(scope, receive, send, find)


async def watch(
    scope: Scope, receive: Receive, send: Send, find: Callable[[User], FeedSource]
) -> None:
    """Serve a watcher of what `find` returns for its user; it raises for those without access."""
    await receive()
    subject = await run_in_database_thread(_allowed, scope, find)
    if subject is None:
        await send({"type": "websocket.close", "code": REFUSED})
        return
    await send({"type": "websocket.accept"})
    offsets = _offsets_in(scope)
    if offsets is None:
        await send(_close_message(CloseReason(REFUSED, BAD_OFFSETS)))
        return

    async def send_text(text: str) -> None:
        await send({"type": "websocket.send", "text": text})

    tasks = [
        asyncio.create_task(FeedSubscriber(offsets, send_text).serve(subject)),
        asyncio.create_task(_wait_for_disconnect(receive)),
        asyncio.create_task(_wait_for_revoked_access(scope, find)),
    ]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    try:
        reason = done.pop().result()
    except OSError:  # the watcher has gone while something was sent to it
        return
    if reason is not None:
        # A watcher that reads nothing does not read this either.
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(send(_close_message(reason)), CLOSE_TIMEOUT_SECONDS)


async def _wait_for_disconnect(receive: Receive) -> CloseReason | None:
    """Wait until the watcher disconnects, or sends a message, which closes the socket."""
    message = await receive()
    if message["type"] == "websocket.disconnect":
        return None
    text = message.get("text")
    if text is None:
        return CloseReason(WRONG_KIND, "Binary messages are not supported.")
    if len(text) > MAX_FRAME:
        return CloseReason(TOO_BIG, "The message is too large.")
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return CloseReason(NOT_UNDERSTOOD, "The message is not valid JSON.")
    return CloseReason(REFUSED, "This socket is read-only. Reconnect to follow other logs.")


async def _wait_for_revoked_access(scope: Scope, find: Callable[[User], FeedSource]) -> CloseReason:
    while True:
        await asyncio.sleep(CHECK_ACCESS_SECONDS)
        if not await _is_still_allowed(scope, find):
            return CloseReason(REFUSED, "You no longer have access.")


async def _is_still_allowed(scope: Scope, find: Callable[[User], FeedSource]) -> bool:
    """Check access again; watchers with the same credentials share one check."""
    key = (_authorization_of(scope), _session_key_of(scope), scope["path"])
    now = time.monotonic()
    known = _checks.get(key)
    if known is None or now - known[0] > CHECK_ACCESS_SECONDS:
        task = asyncio.create_task(run_in_database_thread(_allowed, scope, find))
        known = _checks[key] = (now, task)
        for old in [old for old, (at, _) in _checks.items() if now - at > FORGET_CHECK_SECONDS]:
            del _checks[old]
    return await asyncio.shield(known[1]) is not None


def _allowed(scope: Scope, find: Callable[[User], FeedSource]) -> FeedSource | None:
    user = _user_of(scope)
    try:
        return find(user) if user is not None else None
    except DomainError:
        return None


def _user_of(scope: Scope) -> User | None:
    """Return the user of a socket: by token, or by a session that is still valid."""
    authorization = _authorization_of(scope)
    if authorization:
        token = usable_token(authorization.removeprefix("Bearer ").strip())
        return token.user if token else None
    key = _session_key_of(scope)
    if not key:
        return None
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)
    if request.session.get(HAS_ONE_TIME_PASSWORD):
        return None
    return user if isinstance(user, User) else None


def _authorization_of(scope: Scope) -> str:
    value: bytes = dict(scope["headers"]).get(b"authorization", b"")
    return value.decode("latin-1")


def _session_key_of(scope: Scope) -> str:
    return getattr(scope.get("session"), "session_key", None) or ""


def _close_message(close: CloseReason) -> dict[str, Any]:
    return {"type": "websocket.close", "code": close.code, "reason": close.reason}


def _offsets_in(scope: Scope) -> dict[str, int] | None:
    """Return the offset of each followed log; None where the parameter is not valid."""
    given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("offsets")
    if not given:
        return {}
    try:
        offsets = json.loads(given[0])
    except (ValueError, RecursionError):
        return None
    if not isinstance(offsets, dict) or len(offsets) > MAX_OFFSETS:
        return None
    for name, start in offsets.items():
        if not FOLLOWED.fullmatch(name) or type(start) is not int or not 0 <= start <= MAX_OFFSET:
            return None
    return offsets
