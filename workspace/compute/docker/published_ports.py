"""How this server reaches what listens in a container: at ports that the engine chooses."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from workspace.compute.base import TargetUnreachable
from workspace.compute.containers import is_loopback
from workspace.compute.engine import machine
from workspace.compute.engine.client import Engine
from workspace.compute.outbound import is_own_address

LOOPBACK_ADDRESS = "127.0.0.1"
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - of another machine, which we reach by its name


@dataclass(frozen=True)
class PortPublishing:
    """The address of its machine on which an engine publishes ports, and the one we go to."""

    bind_address: str
    host: str


def port_publishing(engine: Engine) -> PortPublishing:
    """Open ports no wider than this server needs them.

    Where it runs beside the engine, they are open to this machine alone; where it runs in a
    container there, also to other containers; else to all that reach the engine's machine.
    """
    if not engine.is_local:
        host = urlsplit(engine.address).hostname or LOOPBACK_ADDRESS
        if engine.access.outbound.is_restricted:
            host = _checked(host, engine)
        return PortPublishing(
            LOOPBACK_ADDRESS if is_loopback(engine.address) else ALL_ADDRESSES, host
        )
    if is_loopback(engine.access.server_url):
        return PortPublishing(LOOPBACK_ADDRESS, LOOPBACK_ADDRESS)
    gateway = machine.gateway(engine)
    if is_own_address(gateway):
        return PortPublishing(LOOPBACK_ADDRESS, LOOPBACK_ADDRESS)
    return PortPublishing(gateway, gateway)


def _checked(host: str, engine: Engine) -> str:
    """Return an address that a name leads to now, so that it leads nowhere else later."""
    try:
        address = engine.access.outbound.resolve(host, 0)[0]
    except OSError as error:
        raise TargetUnreachable(f"The engine at {engine.address} cannot be reached.") from error
    return f"[{address}]" if ":" in address else address


def published_ports_of(ports: Iterable[Mapping[str, Any]], engine: Engine) -> tuple[str, ...]:
    """Return the addresses of what an engine published of a container, by its ports inside."""
    published = {
        port["PrivatePort"]: int(port["PublicPort"]) for port in ports if "PublicPort" in port
    }
    return tuple(
        f"{port_publishing(engine).host}:{published[inside]}" for inside in sorted(published)
    )
