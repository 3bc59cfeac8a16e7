"""Addresses of engines: which there are, and what reaching one needs. Pure functions."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

USUAL_SOCKET = "unix:///var/run/docker.sock"
EXAMPLES = f"{USUAL_SOCKET}, tcp://HOST:2376 or ssh://USER@HOST"
HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+", re.ASCII)
USER = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_.]*", re.ASCII)
TLS_PORT = 2376


class BadAddress(ValueError):
    """The text is no address of an engine; it says why and what would be."""


@dataclass(frozen=True)
class Address:
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
        """Tell whether others could listen on the way: tcp, to anywhere but this machine."""
        return self.scheme == "tcp" and not _is_loopback(self.host)


def read_address(text: str) -> Address:
    """Read an engine's address as people write it. Raises BadAddress."""
    text = text.strip()
    if text.startswith("/"):
        text = f"unix://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadAddress(f"This is no address. Use {EXAMPLES}.") from None
    if parts.scheme == "unix":
        return _socket(parts)
    if parts.scheme in {"http", "https"}:
        raise BadAddress(f"Write tcp:// instead of {parts.scheme}://, such as tcp://HOST:2376.")
    if parts.scheme not in {"tcp", "ssh"}:
        raise BadAddress(f"Use {EXAMPLES}.")
    host = parts.hostname or ""
    if parts.password is not None:
        raise BadAddress("Leave the password out: ssh uses the key of the server's own user.")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise BadAddress("Nothing may follow the host and its port.")
    if not HOST.fullmatch(host):
        raise BadAddress(f"The name of the host is missing or wrong. Use {EXAMPLES}.")
    if parts.scheme == "tcp":
        if parts.username:
            raise BadAddress("A tcp address has no user: a client certificate says who we are.")
        if port is None:
            raise BadAddress("The port is missing: engines use 2376 with TLS, 2375 without.")
        return Address("tcp", host=host, port=port)
    user = parts.username or ""
    if user and not USER.fullmatch(user):
        raise BadAddress("The user of an ssh address is made of letters, digits, - and _.")
    return Address("ssh", host=host, port=port, user=user)


def _socket(parts: SplitResult) -> Address:
    if parts.netloc or not parts.path.startswith("/") or len(parts.path) < 2 or "\0" in parts.path:
        raise BadAddress(f"Give the whole path of the socket, such as {USUAL_SOCKET}.")
    if parts.query or parts.fragment:
        raise BadAddress("A socket's path has no ? or #.")
    return Address("unix", path=parts.path)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
