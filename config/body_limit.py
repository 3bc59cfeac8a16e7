"""Take large bodies only where files go, and only from whom we know.

Django stores a body before it asks who sends it, and what for.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.urls import Resolver404, resolve

from runs.ingest.http import respond
from workspace.accounts.tokens import token_in, usable_token
from workspace.platform.database_threads import run_in_database_thread

ANONYMOUS_MAX_BYTES = 1024 * 1024
MULTIPART_OVERHEAD_BYTES = 64 * 1024 * 1024  # what multipart and the other fields may add
BODYLESS = {"GET", "HEAD", "OPTIONS", "DELETE"}
# Where files are sent; all others take JSON or a form.
UPLOADS = {
    "api:submit",
    "api:blobs",
    "api:archives",
    "api:list_models",
    "api:run_file",
    "deploy:set_baseline",
    "models:mlflow_artifacts",
    "models:register",
    "new_run:archive",
}

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def with_body_limit(application: Application) -> Application:
    """Return an application that never sees a body larger than its sender may send there."""

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        size = _content_length(headers)
        largest = max_body_bytes(scope["method"], scope["path"])
        if size is not None and size > largest:
            await _refuse(send, largest)
        elif size is not None and size <= ANONYMOUS_MAX_BYTES:
            await application(scope, receive, send)
        elif largest > ANONYMOUS_MAX_BYTES and not await run_in_database_thread(
            _is_authenticated, headers
        ):
            detail = (
                f"More than {ANONYMOUS_MAX_BYTES:,} bytes are taken only with a token or a log-in."
            )
            await respond(send, HTTPStatus.UNAUTHORIZED, {"detail": detail})
        else:
            await _CountedBody(receive, send, largest).pass_to(application, scope)

    return limited


def max_body_bytes(method: str, path: str) -> int:
    """Return how large a body may be that is sent to an address by this method."""
    if method in BODYLESS:
        return ANONYMOUS_MAX_BYTES  # some clients send {} with a DELETE
    try:
        view_name = resolve(path).view_name
    except Resolver404:
        return ANONYMOUS_MAX_BYTES
    if view_name not in UPLOADS:
        return settings.DATA_UPLOAD_MAX_MEMORY_SIZE or ANONYMOUS_MAX_BYTES
    of_files = max(settings.TRAINYARD_MODEL_MAX_BYTES, settings.TRAINYARD_RUN_MAX_BYTES)
    return int(of_files) + MULTIPART_OVERHEAD_BYTES


async def _refuse(send: Send, largest: int) -> None:
    detail = f"A request to this address may have a body of {largest:,} bytes."
    await respond(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"detail": detail})


class _CountedBody:
    """A request of unknown length, which ends for the application where it becomes too long."""

    def __init__(self, receive: Receive, send: Send, largest: int) -> None:
        self._receive = receive
        self._send = send
        self._largest = largest
        self._come = 0
        self._is_answered = False

    async def pass_to(self, application: Application, scope: Scope) -> None:
        await application(scope, self._counted, self._answered)
        if self._is_too_large and not self._is_answered:
            await _refuse(self._send, self._largest)

    async def _counted(self) -> dict[str, Any]:
        message = await self._receive()
        self._come += len(message.get("body", b""))
        return {"type": "http.disconnect"} if self._is_too_large else message

    async def _answered(self, message: MutableMapping[str, Any]) -> None:
        if self._is_answered or not self._is_too_large:
            self._is_answered = True
            await self._send(message)

    @property
    def _is_too_large(self) -> bool:
        return self._come > self._largest


def _content_length(headers: dict[bytes, bytes]) -> int | None:
    """Return the length that a request says its body has; none for one that comes in chunks."""
    if b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else None


def _is_authenticated(headers: dict[bytes, bytes]) -> bool:
    """Return whether a request comes with a token, or a session of a user, that is good."""
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    if token := token_in(authorization):
        return usable_token(token) is not None
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return False
    if settings.SESSION_COOKIE_NAME not in cookies:
        return False
    request = HttpRequest()
    key = cookies[settings.SESSION_COOKIE_NAME].value
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    return bool(get_user(request).is_authenticated)
