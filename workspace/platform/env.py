"""Read settings from environment variables, naming the one that is wrong."""

import os
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str = "") -> str:
    """Return a variable's value, also from the file that NAME_FILE names; empty means unset."""
    file = os.environ.get(f"{name}_FILE")
    if file:
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE: cannot read {file}: {error.strerror}"
            ) from error
    return os.environ.get(name) or default


def secret(name: str) -> str:
    """Return a variable's value as `text` does, and remove it from the environment."""
    value = text(name)
    os.environ.pop(name, None)
    return value


def boolean(name: str, *, default: bool = False) -> bool:
    value = text(name).strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    if not value:
        return default
    raise ImproperlyConfigured(f"{name}={value!r} is not a yes or no: use 1 or 0.")


def number(name: str, default: int, *, low: int, high: int) -> int:
    value = text(name, str(default))
    if value.isascii() and value.isdigit() and low <= int(value) <= high:
        return int(value)
    raise ImproperlyConfigured(f"{name}={value!r} is not a whole number from {low} to {high}.")


def days(name: str, default: int, *, low: int = 0) -> int:
    """Return a number of days, at least `low`, or 0, which keeps for ever."""
    value = number(name, default, low=0, high=36_500)
    if 0 < value < low:
        raise ImproperlyConfigured(f"{name}={value} is too few: set at least {low} days, or 0.")
    return value


def words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def networks(name: str) -> list[str]:
    """Return IP addresses and networks, such as 10.0.0.0/8."""
    found = words(name)
    for network in found:
        try:
            ip_network(network)
        except ValueError:
            raise ImproperlyConfigured(
                f"{name}: {network!r} is not an IP address or network, such as 10.0.0.0/8."
            ) from None
    return found


def writable_folder(name: str, default: Path) -> Path:
    folder = Path(text(name, str(default))).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name}: cannot make the folder {folder}: {error.strerror}."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(
            f"{name}: cannot write to {folder}: give yourself the right to, or name another folder."
        )
    return folder


def existing_file(name: str) -> str:
    path = text(name)
    if path and not os.access(path, os.R_OK):
        raise ImproperlyConfigured(f"{name}={path!r} is not a file that can be read.")
    return path


def origin(name: str, default: str) -> str:
    """Return an address of a server: scheme, host and port, nothing behind."""
    value = text(name, default).rstrip("/")
    try:
        parts = urlsplit(value)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ImproperlyConfigured(
            f"{name}={value!r} is not an address of the form http://HOST:PORT or https://HOST."
        )
    return value
