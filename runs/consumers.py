"""The websocket of a run: who may watch, what they follow, and when it closes."""

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

from runs import metrics, usage
from runs.live import Message, Subject, Watcher
from runs.logs_watched import WatchedLog, logs_of_run
from runs.models import Run
from runs.processes import in_database
from runs.selectors import process_messages, processes_of_run, run_of, status_message
from workspace.errors import DomainError
from workspace.middleware import HAS_ONE_TIME_PASSWORD
from workspace.models import Team
from workspace.selectors import team_for
from workspace.tokens import usable_token

CHECK_ACCESS_SECONDS = 2.0
FORGET_CHECK_SECONDS = 60.0
PATIENCE_SECONDS = 5.0
MAX_FRAME = 4096
MAX_OFFSETS = 200
FURTHEST = 2**53
FOLLOWED = re.compile(r"\*|[a-z]+(-[0-9]{1,9}){0,2}", re.ASCII)
WRONG_KIND, NOT_UNDERSTOOD, REFUSED, TOO_BIG = 1003, 1007, 1008, 1009
BAD_OFFSETS = 'offsets should be like {"worker-0": 0}.'

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_checks: dict[tuple[str, str, str], tuple[float, asyncio.Task[Subject | None]]] = {}


class Farewell(NamedTuple):
    """Why a socket is closed."""

    code: int
    reason: str


@dataclass
class RunSubject:
    """A run as watchers see it."""

    run_id: int
    channel: str = field(init=False)

    def __post_init__(self) -> None:
        self.channel = f"run-{self.run_id}"

    def facts(self, kinds: frozenset[str]) -> list[Message]:
        run = Run.objects.get(pk=self.run_id)
        messages: list[Message] = []
        if kinds & {"event", "process"}:
            messages.append(status_message(run, timezone.now()))
            messages += process_messages(processes_of_run(run))
        if "metrics" in kinds:
            messages.append({"type": "metrics", "steps": metrics.last_steps(run.pk)})
        if "usage" in kinds:
            messages += [
                {"type": "usage", "process": process.name, **usage.message(sample)}
                for process, sample in usage.newest(processes_of_run(run))
            ]
        return messages

    def logs(self) -> dict[str, WatchedLog]:
        return logs_of_run(Run.objects.select_related("environment").get(pk=self.run_id))


async def watch_run(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one watcher of a run until it leaves or may watch no longer."""
    kwargs = scope["url_route"]["kwargs"]

    def find(user: User) -> Subject:
        team: Team = team_for(user, kwargs["slug"])
        return RunSubject(run_of(team, int(kwargs["number"])).pk)

    await watch(scope, receive, send, find)


async def watch(
    scope: Scope, receive: Receive, send: Send, find: Callable[[User], Subject]
) -> None:
    """Serve a watcher of what `find` gives for its user; `find` raises for who may not see it."""
    await receive()
    subject = await in_database(_allowed, scope, find)
    if subject is None:
        await send({"type": "websocket.close", "code": REFUSED})
        return
    await send({"type": "websocket.accept"})
    offsets = _offsets_in(scope)
    if offsets is None:
        await send(_goodbye(Farewell(REFUSED, BAD_OFFSETS)))
        return

    async def send_text(text: str) -> None:
        await send({"type": "websocket.send", "text": text})

    tasks = [
        asyncio.create_task(Watcher(offsets, send_text).serve(subject)),
        asyncio.create_task(_until_left(receive)),
        asyncio.create_task(_until_barred(scope, find)),
    ]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    try:
        farewell = done.pop().result()
    except OSError:  # the watcher has gone while something was sent to it
        return
    if farewell is not None:
        # Who does not read does not hear this either.
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(send(_goodbye(farewell)), PATIENCE_SECONDS)


async def _until_left(receive: Receive) -> Farewell | None:
    """Wait until the watcher leaves, or says what no watcher has to say."""
    message = await receive()
    if message["type"] == "websocket.disconnect":
        return None
    text = message.get("text")
    if text is None:
        return Farewell(WRONG_KIND, "Only text is understood here.")
    if len(text) > MAX_FRAME:
        return Farewell(TOO_BIG, "That was too much at once.")
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return Farewell(NOT_UNDERSTOOD, "That was not JSON.")
    return Farewell(REFUSED, "There is nothing to say here: connect anew to follow other logs.")


async def _until_barred(scope: Scope, find: Callable[[User], Subject]) -> Farewell:
    while True:
        await asyncio.sleep(CHECK_ACCESS_SECONDS)
        if not await _is_still_allowed(scope, find):
            return Farewell(REFUSED, "You may watch this no longer.")


async def _is_still_allowed(scope: Scope, find: Callable[[User], Subject]) -> bool:
    """Check access again; watchers with the same credentials share one check."""
    key = (_authorization_of(scope), _session_key_of(scope), scope["path"])
    now = time.monotonic()
    known = _checks.get(key)
    if known is None or now - known[0] > CHECK_ACCESS_SECONDS:
        task = asyncio.create_task(in_database(_allowed, scope, find))
        known = _checks[key] = (now, task)
        for old in [old for old, (at, _) in _checks.items() if now - at > FORGET_CHECK_SECONDS]:
            del _checks[old]
    return await asyncio.shield(known[1]) is not None


def _allowed(scope: Scope, find: Callable[[User], Subject]) -> Subject | None:
    user = _user_of(scope)
    try:
        return find(user) if user is not None else None
    except DomainError:
        return None


def _user_of(scope: Scope) -> User | None:
    """Give who is behind a socket now: by token, or by a session that still lasts."""
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


def _goodbye(farewell: Farewell) -> Message:
    return {"type": "websocket.close", "code": farewell.code, "reason": farewell.reason}


def _offsets_in(scope: Scope) -> dict[str, int] | None:
    """Read where each followed log goes on; None for what cannot be meant."""
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
        if not FOLLOWED.fullmatch(name) or type(start) is not int or not 0 <= start <= FURTHEST:
            return None
    return offsets
