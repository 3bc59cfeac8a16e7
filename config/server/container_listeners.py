"""Listens where containers of this machine's engines reach the web, whenever an engine appears."""

import asyncio
from collections.abc import Awaitable, Callable
from socket import socket

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from config.server.startup import StartupError, listen
from workspace.compute.engine.discovery import find_local_engine
from workspace.models import ComputeTarget

LOOK_EVERY_SECONDS = 5.0
Serve = Callable[[socket], Awaitable[None]]


class ContainerListeners:
    """Takes the bridges of engines: that of DOCKER_HOST, and those of targets on this machine.

    Containers get nothing but the runners' endpoints at `hosts`.
    """

    def __init__(self) -> None:
        self.hosts: set[str] = set()
        self._found: set[str] = set()
        self._said: set[str] = set()

    async def keep_looking(self, serve: Serve) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            await self.look(serve)

    async def look(self, serve: Serve) -> None:
        """Listen for the containers of every engine that answers by now."""
        for address in sorted({settings.DOCKER_HOST, *await _addresses_of_targets()} - self._found):
            engine = await asyncio.to_thread(find_local_engine, address)
            if engine is None:
                continue
            try:
                if engine.gateway not in self.hosts:
                    listener = await asyncio.to_thread(
                        listen, engine.gateway, settings.TRAINYARD_PORT
                    )
                    self.hosts.add(engine.gateway)
                    await serve(listener)
            except StartupError as error:
                self._say(
                    f"Containers of {address} cannot reach this server, so runs on it will not"
                    f" start. {error}"
                )
            else:
                self._found.add(address)

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            print(message)


@database_sync_to_async
def _addresses_of_targets() -> set[str]:
    """Return the sockets of this machine at which targets have their engines."""
    targets = ComputeTarget.objects.filter(address__startswith="unix://")
    try:
        return set(targets.values_list("address", flat=True))
    except (DatabaseError, InterfaceError):  # which may be away for a while
        return set()
