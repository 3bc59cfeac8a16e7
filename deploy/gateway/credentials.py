"""Read from a request's headers who asks: pure."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from django.conf import settings
from django.http.cookie import parse_cookie

MAX_CACHED = 256  # a thousand of them are kept, so that strangers cannot fill the memory
Headers = Iterable[tuple[bytes, bytes]]


class Credentials(NamedTuple):
    """What a request brings: a bearer's secret, else the session of a page.

    The session `is_foreign` where a page of another site may have sent the request.
    """

    secret: str = ""
    session: str = ""
    is_foreign: bool = False


def credentials_of(headers: Headers) -> Credentials:
    """Read who asks: a bearer's secret, or else the session of a page."""
    cookie = b""
    for name, value in headers:
        if name == b"authorization":
            return _usual_bearer(value) if len(value) <= MAX_CACHED else _bearer(value)
        if name == b"cookie":
            cookie = value
    if not cookie:
        return Credentials()
    session = parse_cookie(cookie.decode("latin-1")).get(settings.SESSION_COOKIE_NAME, "")
    return Credentials("", session, is_foreign=not _is_of_our_site(dict(headers)))


def _bearer(authorization: bytes) -> Credentials:
    scheme, _, secret = authorization.decode("latin-1").partition(" ")
    return Credentials(secret.strip() if scheme.lower() == "bearer" else "")


_usual_bearer = lru_cache(maxsize=1024)(_bearer)


def _is_of_our_site(headers: dict[bytes, bytes]) -> bool:
    """Return whether a page of ours sent a request; browsers say of others' that they did."""
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is None and origin is None:
        return False
    host = headers.get(b"host", b"")
    from_here = origin in {None, b"http://" + host, b"https://" + host}
    return from_here and site in {None, b"same-origin"}
