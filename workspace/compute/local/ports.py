"""Ports of this machine for the processes of groups: free, and given to one process only."""

import json
import random
import socket
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

# Below the range that the kernel gives to outgoing connections, so that none of those takes a port
# between the choice and the bind.
PORTS = range(20000, 32000)


def free_port(taken: Collection[int], preferred: Sequence[int] = ()) -> int:
    """Return a free port that is not in `taken`: the first of `preferred` where possible."""
    for port in preferred[:1]:
        if port not in taken and _can_listen(port, is_again=True):
            return port
    for port in random.sample(PORTS, len(PORTS)):
        if port not in taken and _can_listen(port):
            return port
    raise OSError(f"No port from {PORTS[0]} to {PORTS[-1]} is free.")


def ports_of(addresses: Iterable[str]) -> list[int]:
    """Return the ports of addresses of the form host:port."""
    return [int(address.rpartition(":")[2]) for address in addresses]


def ports_in(path: Path) -> dict[str, list[int]]:
    """Read which ports the processes of a group were given."""
    try:
        given: dict[str, list[int]] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return given


def _can_listen(port: int, *, is_again: bool = False) -> bool:
    """Try to bind a port; `is_again` allows one that was used a moment ago."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            with socket.socket(family, socket.SOCK_STREAM) as tried:
                if family == socket.AF_INET6:
                    tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if is_again:
                    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind((address, port))
        except OSError:
            if family == socket.AF_INET or socket.has_dualstack_ipv6():
                return False
    return True
