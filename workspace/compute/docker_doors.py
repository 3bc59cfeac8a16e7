"""How this server reaches what listens in a container: at ports that the engine chooses."""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from workspace.compute import docker_machine
from workspace.compute.containers import is_loopback
from workspace.compute.docker_client import Engine

THIS_MACHINE = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - of another machine, which we reach by its name


@dataclass(frozen=True)
class Door:
    """The address of its machine on which an engine publishes ports, and the one we go to."""

    listens_on: str
    host: str


def door_of(engine: Engine) -> Door:
    """Open ports no wider than this server needs them.

    Where it runs beside the engine, they are open to this machine alone; where it runs in a
    container there, also to other containers; else to all that reach the engine's machine.
    """
    if not engine.is_here:
        host = urlsplit(engine.address).hostname or THIS_MACHINE
        return Door(THIS_MACHINE if is_loopback(engine.address) else EVERYWHERE, host)
    if is_loopback(engine.access.own_url):
        return Door(THIS_MACHINE, THIS_MACHINE)
    gateway = docker_machine.gateway(engine)
    if _is_ours(gateway):
        return Door(THIS_MACHINE, THIS_MACHINE)
    return Door(gateway, gateway)


def _is_ours(address: str) -> bool:
    """Tell whether an address of the engine's machine is ours too, as it is outside containers."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def doors_in(ports: Iterable[Mapping[str, Any]], engine: Engine) -> tuple[str, ...]:
    """Give the addresses of what an engine published of a container, by its ports inside."""
    published = {port["PrivatePort"]: port["PublicPort"] for port in ports if "PublicPort" in port}
    return tuple(f"{door_of(engine).host}:{published[inside]}" for inside in sorted(published))
