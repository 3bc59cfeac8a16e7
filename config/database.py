"""Choose the database: SQLite in TRAINYARD_HOME, or PostgreSQL by DATABASE_URL."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def settings_from(url: str, home: Path) -> dict[str, Any]:
    """Return Django's settings of a database for a URL; an empty one means SQLite in `home`.

    Connections end with the request: under ASGI each request has a thread of its own, so one that
    were kept would be kept for nobody.
    """
    if not url:
        return _sqlite(home / "db.sqlite3")
    try:
        parts = urlsplit(url)
        port = parts.port or ""
    except ValueError:
        raise _wrong_form() from None  # its text may hold a part of the password
    if parts.scheme == "sqlite" and parts.path:
        return _sqlite(Path(unquote(parts.path)))
    if parts.scheme in {"postgres", "postgresql"} and parts.path.lstrip("/"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": port,
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": dict(parse_qsl(parts.query)),
        }
    raise _wrong_form()


def _wrong_form() -> ImproperlyConfigured:
    return ImproperlyConfigured(
        "DATABASE_URL is not of the form postgresql://USER:PASSWORD@HOST:PORT/NAME"
        " or sqlite:///PATH."
    )


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
