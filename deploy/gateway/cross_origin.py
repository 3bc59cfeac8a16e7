"""Web pages of other origins: which of them may call a service, as browsers ask and are told.

Cookies never go with it: no response allows credentials.
"""

from typing import Any

from deploy.gateway.credentials import Headers
from deploy.gateway.forwarding import Send
from deploy.gateway.routes import ServiceRoute
from deploy.service_options import BY_KEY

HeaderList = list[tuple[bytes, bytes]]

PREFLIGHT_SECONDS = b"600"
ALLOWED_HEADERS = "authorization, content-type"


def is_preflight(method: str, headers: Headers) -> bool:
    """Return whether a browser asks if a page may send a request, which it does without a key."""
    if method != "OPTIONS":
        return False
    names = {name for name, _ in headers}
    return {b"origin", b"access-control-request-method"} <= names


def preflight_headers(route: ServiceRoute | None, headers: Headers, methods: bytes) -> HeaderList:
    """Return the headers that allow a page to call a service; none where it may not."""
    if route is None or _origin_of(headers) not in route.allowed_origins:
        return []
    allowed = ALLOWED_HEADERS
    if route.sticky_by not in ("", BY_KEY):
        allowed = f"{allowed}, {route.sticky_by}"
    return [
        *response_headers(route, headers),
        (b"access-control-allow-methods", methods),
        (b"access-control-allow-headers", allowed.encode()),
        (b"access-control-max-age", PREFLIGHT_SECONDS),
    ]


def response_headers(route: ServiceRoute | None, headers: Headers) -> HeaderList:
    """Return the headers that let a page read a response; caches keep one for each origin."""
    if route is None or not route.allowed_origins:
        return []
    vary = (b"vary", b"Origin")
    origin = _origin_of(headers)
    if origin not in route.allowed_origins:
        return [vary]
    return [
        vary,
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", b"retry-after"),
    ]


class CrossOriginResponse:
    """Passes an answer on with such headers, in place of what the model server says of origins."""

    def __init__(self, send: Send, headers: HeaderList) -> None:
        self._send = send
        self._headers = headers

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            passed = [
                (name, value)
                for name, value in message["headers"]
                if not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": passed + self._headers}
        await self._send(message)


def _origin_of(headers: Headers) -> bytes:
    return next((value for name, value in headers if name == b"origin"), b"")
