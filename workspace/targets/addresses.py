"""Addresses of engines: which there are, and what reaching one needs. Pure functions."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
EXAMPLES = f"{DEFAULT_SOCKET}, tcp://HOST:2376 or ssh://USER@HOST"
HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+", re.ASCII)
USER = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_.]*", re.ASCII)
TLS_PORT = 2376


class InvalidEngineAddress(ValueError):
    """The text is not the address of an engine; the message says why and what would be."""


@dataclass(frozen=True)
class EngineAddress:
    """Where an engine listens: a socket's path, or a host and, for tcp, its port."""

    scheme: str
    path: str = ""
    host: str = ""
    port: int | None = None
    user: str = ""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{user}{host}{port}"

    @property
    def crosses_a_network(self) -> bool:
        """Return whether others could listen on the way: tcp, to anywhere but this machine."""
        return self.scheme == "tcp" and not _is_loopback(self.host)


def parse_engine_address(text: str) -> EngineAddress:
    """Read an engine's address as people write it. Raises InvalidEngineAddress."""
    text = text.strip()
    if text.startswith("/"):
        text = f"unix://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidEngineAddress(f"Invalid address. Use {EXAMPLES}.") from None
    if parts.scheme == "unix":
        return _socket(parts)
    if parts.scheme in {"http", "https"}:
        raise InvalidEngineAddress(
            f"Use tcp:// instead of {parts.scheme}://, such as tcp://HOST:2376."
        )
    if parts.scheme not in {"tcp", "ssh"}:
        raise InvalidEngineAddress(f"Use {EXAMPLES}.")
    host = parts.hostname or ""
    if parts.password is not None:
        raise InvalidEngineAddress("Remove the password: ssh uses the key of the server's user.")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidEngineAddress("Remove what follows the host and port.")
    if not HOST.fullmatch(host):
        raise InvalidEngineAddress(f"The host name is missing or invalid. Use {EXAMPLES}.")
    if parts.scheme == "tcp":
        if parts.username:
            raise InvalidEngineAddress(
                "A tcp address has no user: the client certificate identifies Trainyard."
            )
        if port is None:
            raise InvalidEngineAddress(
                "The port is missing: engines use 2376 with TLS, 2375 without."
            )
        return EngineAddress("tcp", host=host, port=port)
    user = parts.username or ""
    if user and not USER.fullmatch(user):
        raise InvalidEngineAddress(
            "The user of an ssh address is made of letters, digits, - and _."
        )
    return EngineAddress("ssh", host=host, port=port, user=user)


def _socket(parts: SplitResult) -> EngineAddress:
    if parts.netloc or not parts.path.startswith("/") or len(parts.path) < 2 or "\0" in parts.path:
        raise InvalidEngineAddress(f"Use the whole path of the socket, such as {DEFAULT_SOCKET}.")
    if parts.query or parts.fragment:
        raise InvalidEngineAddress("A socket's path has no ? or #.")
    return EngineAddress("unix", path=parts.path)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
