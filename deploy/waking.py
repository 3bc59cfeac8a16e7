"""Requests to a service that sleeps: they wake it, and wait for its start rather than fail."""

import asyncio
import time

from channels.db import database_sync_to_async
from django.utils import timezone

from deploy.errors import GatewayError
from deploy.models import Service
from deploy.routes import Name, Route, Routes
from workspace import bell

WAIT_SECONDS = 55.0
LOOK_EVERY_SECONDS = 0.1
NOTE_EVERY_SECONDS = 2.0


class Waking:
    """Wakes services, each once in a while. Belongs to one event loop."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._noted: dict[int, float] = {}

    async def wait(self, name: Name, route: Route) -> Route:
        """Give the route of a service that sleeps once there is a replica, or no hope of one."""
        deadline = time.monotonic() + WAIT_SECONDS
        found: Route | None = route
        while found is not None and found.is_asleep:
            if time.monotonic() > deadline:
                raise GatewayError(
                    503,
                    f"This service was asleep and did not start within {WAIT_SECONDS:.0f} s;"
                    f" try again. {found.reason}".strip(),
                    {b"retry-after": b"5"},
                )
            await self._note(found.service_id)
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            found = await self._routes.find(name)
        return route if found is None else found

    async def _note(self, service_id: int) -> None:
        now = time.monotonic()
        if now - self._noted.get(service_id, float("-inf")) > NOTE_EVERY_SECONDS:
            self._noted[service_id] = now
            await _wake(service_id)


def wake(service_id: int) -> None:
    """Note that somebody waits for a service."""
    Service.objects.filter(pk=service_id).update(woken_at=timezone.now())
    bell.ring()


_wake = database_sync_to_async(wake, thread_sensitive=False)
