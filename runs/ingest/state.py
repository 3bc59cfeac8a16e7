"""What the runner's endpoints remember between requests; all of it may be lost."""

import asyncio
from weakref import WeakKeyDictionary

from runs.events import notify_watchers_async
from runs.ingest.throttle import Throttle
from runs.ingest.token_cache import ProcessPrincipal, TokenCache
from runs.logs.merged import MergedLog
from runs.metrics.ingestion import enqueue_ingest
from workspace.platform import broker
from workspace.platform.clock import Pace

NUDGE_EVERY = 0.05
JOURNAL_EVERY = 0.1
METRICS_EVERY = 2.0
HEARTBEAT_WRITE_EVERY = 5.0
UPLOAD_WRITE_EVERY = 10.0
NUDGE_TIMEOUT = 2.0

Nudge = tuple[str, str, str]


class IngestState:
    def __init__(self) -> None:
        self.tokens = TokenCache()
        self._nudges: Throttle[Nudge] = Throttle(NUDGE_EVERY, _nudge)
        self._journals: Throttle[ProcessPrincipal] = Throttle(JOURNAL_EVERY, _journal)
        self._metrics: Throttle[int] = Throttle(METRICS_EVERY, _ingest_metrics)
        self._heartbeat_writes = Pace(HEARTBEAT_WRITE_EVERY)
        self._upload_writes = Pace(UPLOAD_WRITE_EVERY)

    def nudge(self, caller: ProcessPrincipal, what: str) -> None:
        self._nudges.call((caller.channel, what, caller.name))

    def log_grew(self, caller: ProcessPrincipal) -> None:
        self.nudge(caller, "log")
        if len(caller.names) > 1:
            self._journals.call(caller)

    def metrics_grew(self, run_id: int) -> None:
        self._metrics.call(run_id)

    def is_heartbeat_write_due(self, caller: ProcessPrincipal) -> bool:
        """Return whether a beat is worth a write now; most are not."""
        return self._heartbeat_writes.is_due(caller.process_id)

    def is_upload_write_due(self, caller: ProcessPrincipal) -> bool:
        """Return whether to store now how far an upload has come."""
        return self._upload_writes.is_due(caller.process_id)

    def forget(self, caller: ProcessPrincipal) -> None:
        self._heartbeat_writes.forget(caller.process_id)
        self._upload_writes.forget(caller.process_id)


_states: WeakKeyDictionary[asyncio.AbstractEventLoop, IngestState] = WeakKeyDictionary()


def state() -> IngestState:
    return _states.setdefault(asyncio.get_running_loop(), IngestState())


async def _nudge(nudge: Nudge) -> None:
    # A broker that hangs must not hold the nudges of tomorrow.
    try:
        await asyncio.wait_for(notify_watchers_async(*nudge), NUDGE_TIMEOUT)
    except TimeoutError:
        broker.log_throttled(
            "Watchers could not be notified", TimeoutError("The broker does not respond.")
        )


async def _journal(caller: ProcessPrincipal) -> None:
    await asyncio.to_thread(MergedLog(caller.label, caller.names).update)


async def _ingest_metrics(run_id: int) -> None:
    await asyncio.to_thread(enqueue_ingest, run_id)
