"""Requests to a service that sleeps: they wake it, and wait for its start rather than fail."""

import asyncio
import time

from channels.db import database_sync_to_async
from django.utils import timezone

from deploy.events import ServiceName
from deploy.gateway.errors import GatewayError
from deploy.gateway.routes import Routes, ServiceRoute
from deploy.models import Service
from workspace.platform import wakeup
from workspace.platform.clock import Pace

WAIT_SECONDS = 55.0
LOOK_EVERY_SECONDS = 0.1
NOTE_EVERY_SECONDS = 2.0


class ServiceWaker:
    """Wakes services, each once in a while. Belongs to one event loop."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._wakes = Pace(NOTE_EVERY_SECONDS)

    async def wait(self, name: ServiceName, route: ServiceRoute) -> ServiceRoute:
        """Return the route of a service that sleeps once there is a replica, or no hope of one."""
        deadline = time.monotonic() + WAIT_SECONDS
        found: ServiceRoute | None = route
        while found is not None and found.is_scaled_to_zero:
            if time.monotonic() > deadline:
                raise GatewayError(
                    503,
                    f"This service was scaled to zero and did not start within"
                    f" {WAIT_SECONDS:.0f} s; try again. {found.reason}".strip(),
                    {b"retry-after": b"5"},
                )
            await self._note(found.service_id)
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            found = await self._routes.find(name)
        return route if found is None else found

    async def _note(self, service_id: int) -> None:
        if self._wakes.is_due(service_id):
            await _wake(service_id)


def wake(service_id: int) -> None:
    """Note that somebody waits for a service."""
    Service.objects.filter(pk=service_id).update(wake_requested_at=timezone.now())
    wakeup.send()


_wake = database_sync_to_async(wake, thread_sensitive=False)
