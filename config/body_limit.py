"""Take large bodies only from whom we know: Django stores a body before it asks who sends it."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from runs.ingest_http import answer
from runs.processes import in_database
from workspace.tokens import usable_token

FROM_ANYONE = 1024 * 1024
AROUND_A_FILE = 64 * 1024 * 1024  # what multipart and the other fields may add

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Application = Callable[[Scope, Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def with_body_limit(application: Application) -> Application:
    """Give an application that never sees a body larger than its sender may send."""

    async def limited(scope: Scope, receive: Receive, send: Callable[..., Any]) -> None:
        headers = dict(scope["headers"])
        size = _announced(headers)
        if size is not None and size <= FROM_ANYONE:
            await application(scope, receive, send)
            return
        largest = _largest()
        if not await in_database(_is_known, headers):
            detail = f"More than {FROM_ANYONE:,} bytes are taken only with a token or a log-in."
            await answer(send, HTTPStatus.UNAUTHORIZED, {"detail": detail})
        elif size is not None and size > largest:
            detail = f"A request may have {largest:,} bytes; this one has {size:,}."
            await answer(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"detail": detail})
        else:
            await application(scope, _counted(receive, largest), send)

    return limited


def _announced(headers: dict[bytes, bytes]) -> int | None:
    """Give the length that a request says its body has; none for one that comes in chunks."""
    if b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else None


def _largest() -> int:
    of_files = max(settings.TRAINYARD_MODEL_MAX_BYTES, settings.TRAINYARD_RUN_MAX_BYTES)
    return int(of_files) + AROUND_A_FILE


def _is_known(headers: dict[bytes, bytes]) -> bool:
    """Tell whether a request comes with a token, or a session of a user, that is good."""
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    if authorization.startswith("Bearer "):
        return usable_token(authorization.removeprefix("Bearer ").strip()) is not None
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


def _counted(receive: Receive, most: int) -> Receive:
    """Give a `receive` that ends a body which is longer than it may be."""
    come = 0

    async def counted() -> dict[str, Any]:
        nonlocal come
        message = await receive()
        come += len(message.get("body", b""))
        return {"type": "http.disconnect"} if come > most else message

    return counted
