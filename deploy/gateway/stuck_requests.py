"""Requests that wait for a replica which hangs: given up once its health check says so.

Over REST and over gRPC they are then tried elsewhere, as when a replica dies.
"""

import asyncio
import logging

from channels.db import database_sync_to_async
from django.db import Error

from deploy.gateway.upstream import UpstreamPool
from deploy.models import Replica, ReplicaState

LOOK_EVERY_SECONDS = 0.5
LONG_SECONDS = 2.0
log = logging.getLogger(__name__)


class StuckRequestMonitor:
    """Looks after requests that wait long. Belongs to one event loop."""

    def __init__(self, pool: UpstreamPool) -> None:
        self._pool = pool
        self._watching: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Look twice a second from now on."""
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._keep_watching())

    def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _keep_watching(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            stuck = self._pool.stuck(LONG_SECONDS)
            if stuck:
                try:
                    hung = await _unhealthy([each.address.rest for each in stuck])
                except Error as error:
                    log.warning("Could not look up hung replicas: %s", error)
                    continue
                for upstream in stuck:
                    if upstream.address.rest in hung:
                        upstream.abort_waiting()


def unhealthy(addresses: list[str]) -> set[str]:
    """Return those addresses whose replica does not answer its health check."""
    found = Replica.objects.filter(address__in=addresses, state=ReplicaState.UNHEALTHY)
    return set(found.values_list("address", flat=True))


_unhealthy = database_sync_to_async(unhealthy, thread_sensitive=False)
