"""Which pages may open a websocket with their visitor's session: those of this server alone."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

DEFAULT_PORTS = {"http": 80, "https": 443}
PAGES = {"ws": "http", "wss": "https"}


def has_own_origin(scope: dict[str, Any]) -> bool:
    """Return whether a websocket is opened by a page with the address that it is opened at.

    Scheme, host and port all count: another port of a host belongs to somebody else.
    """
    origins, hosts = (_values(scope, name) for name in (b"origin", b"host"))
    if len(origins) != 1 or len(hosts) != 1:
        return False
    origin = _parts(origins[0])
    if origin is None:
        return False
    if origin == _parts(settings.TRAINYARD_URL):
        return True
    host, _ = split_domain_port(hosts[0])
    if not validate_host(host, settings.ALLOWED_HOSTS):
        return False
    return origin == _parts(f"{PAGES[scope.get('scheme', 'ws')]}://{hosts[0]}")


def _values(scope: dict[str, Any], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]


def _parts(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an origin, or None if it is none."""
    try:
        parts = urlsplit(origin)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    if not parts.hostname or parts.path or parts.query or parts.fragment or parts.username:
        return None
    return parts.scheme, parts.hostname, port
