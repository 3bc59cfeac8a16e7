"""What the gateway notes of requests, and the one task that writes it down now and then."""

import asyncio
import logging
import time

from channels.db import database_sync_to_async
from django.db import Error

from deploy.models import Traffic
from deploy.traffic import counters
from deploy.traffic.counters import TrafficCounters, write_traffic
from deploy.traffic.rate_limits import KeyUsage, write_uses
from deploy.traffic.request_log import RequestLog, RequestRecord, write_requests

# A little after a span's end, so that no clock has us write the same span twice.
AFTER_SPAN_SECONDS = 0.05
log = logging.getLogger(__name__)


class TrafficRecorder:
    """Tallies, uses of keys and logged requests of one event loop."""

    def __init__(self) -> None:
        self.counters = TrafficCounters()
        self.key_uses = KeyUsage()
        self.request_log = RequestLog()
        self._writing: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Write every ten seconds from now on."""
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._keep_writing())

    async def close(self) -> None:
        """Write what there is, for the last time."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        await self.write()

    async def write(self) -> None:
        """Write what came since the last time. What cannot be written is lost, and said so."""
        spans = self.counters.flush_interval()
        uses = self.key_uses.take_unwritten()
        requests = self.request_log.take_waiting()
        if not (spans or uses or requests):
            return
        try:
            await _write(spans, uses, requests)
        except Error as error:
            log.warning("Could not store traffic counters: %s", error)

    async def _keep_writing(self) -> None:
        while True:
            span = counters.INTERVAL_SECONDS
            await asyncio.sleep(span - time.time() % span + AFTER_SPAN_SECONDS)
            await self.write()


def write(spans: list[Traffic], uses: dict[int, int], requests: list[RequestRecord]) -> None:
    write_traffic(spans)
    write_uses(uses)
    write_requests(requests)


_write = database_sync_to_async(write, thread_sensitive=False)
