"""The websocket of a run: who may watch, what they follow, and when it closes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone

from runs import metrics, usage
from runs.live import Message, Subject, Watcher
from runs.logs import Log, build_log_of, log_of
from runs.logs_merged import MergedLog
from runs.models import Run, UsageSample
from runs.processes import in_database
from runs.selectors import (
    latest_attempt,
    process_messages,
    processes_of_run,
    run_of,
    status_message,
)
from runs.states import ProcessState
from workspace.errors import DomainError
from workspace.models import Team
from workspace.selectors import team_for
from workspace.tokens import usable_token

CHECK_ACCESS_SECONDS = 4.0
MAX_FRAME = 4096
MAX_OFFSETS = 200
NOT_UNDERSTOOD, WRONG_KIND, NO_ACCESS, TOO_BIG = 1007, 1003, 1008, 1009

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


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
            steps = metrics.last_steps(run.pk)
            if steps:
                names = sorted(steps)
                messages.append({"type": "metrics", "names": names, "step": max(steps.values())})
        if "usage" in kinds:
            for process in processes_of_run(run):
                newest = UsageSample.objects.filter(process=process).order_by("-at").first()
                if newest is not None:
                    messages.append(
                        {"type": "usage", "process": process.name, **usage.message(newest)}
                    )
        return messages

    def logs(self) -> dict[str, Log]:
        run = Run.objects.select_related("environment").get(pk=self.run_id)
        logs: dict[str, Log] = {}
        if run.environment is not None:
            logs["build"] = build_log_of(run.environment)
        group = latest_attempt(run)
        if group is not None:
            processes = list(group.processes.all())
            names = [process.name for process in processes]
            ended = {p.name for p in processes if p.collected_at or p.state == ProcessState.EXITED}
            logs |= {name: log_of(group.label, name) for name in names}
            logs["merged"] = MergedLog(group.label, tuple(names), frozenset(ended))
        return logs


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
        await send({"type": "websocket.close", "code": NO_ACCESS})
        return
    offsets = _offsets_in(scope)
    await send({"type": "websocket.accept"})
    if offsets is None:
        await send({"type": "websocket.close", "code": NOT_UNDERSTOOD})
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
    code = done.pop().result()
    if code is not None:
        with suppress(Exception):
            await send({"type": "websocket.close", "code": code})


async def _until_left(receive: Receive) -> int | None:
    """Wait until the watcher leaves, or says what no watcher has to say."""
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return None
        if message.get("bytes") is not None:
            return WRONG_KIND
        if len(message.get("text") or "") > MAX_FRAME:
            return TOO_BIG
        return NOT_UNDERSTOOD


async def _until_barred(scope: Scope, find: Callable[[User], Subject]) -> int:
    while True:
        await asyncio.sleep(CHECK_ACCESS_SECONDS)
        if await in_database(_allowed, scope, find) is None:
            return NO_ACCESS


def _allowed(scope: Scope, find: Callable[[User], Subject]) -> Subject | None:
    user = _user_of(scope)
    try:
        return find(user) if user is not None else None
    except DomainError:
        return None


def _user_of(scope: Scope) -> User | None:
    """Give who is behind a socket now: by token, or by a session that still lasts."""
    headers = dict(scope["headers"])
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    if authorization:
        token = usable_token(authorization.removeprefix("Bearer ").strip())
        return token.user if token else None
    key = getattr(scope.get("session"), "session_key", None)
    if not key:
        return None
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)
    return user if isinstance(user, User) else None


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
    if not all(type(start) is int and 0 <= start < 2**63 for start in offsets.values()):
        return None
    return offsets
