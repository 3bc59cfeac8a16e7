"""What the runner's endpoints remember between requests; all of it may be lost."""

import asyncio
import time
from weakref import WeakKeyDictionary

from runs.debounce import Debounce
from runs.events import anudge
from runs.logs_merged import MergedLog
from runs.metrics_jobs import enqueue_ingest
from runs.processes import Caller, Roll
from workspace import broker

NUDGE_EVERY = 0.05
JOURNAL_EVERY = 0.1
METRICS_EVERY = 2.0
NOTE_EVERY = 5.0
NUDGE_PATIENCE = 2.0

Nudge = tuple[str, str, str]


class State:
    def __init__(self) -> None:
        self.roll = Roll()
        self._nudges: Debounce[Nudge] = Debounce(NUDGE_EVERY, _nudge)
        self._journals: Debounce[Caller] = Debounce(JOURNAL_EVERY, _journal)
        self._metrics: Debounce[int] = Debounce(METRICS_EVERY, _ingest_metrics)
        self._noted_at: dict[int, float] = {}

    def nudge(self, caller: Caller, what: str) -> None:
        self._nudges.ask((caller.channel, what, caller.name))

    def log_grew(self, caller: Caller) -> None:
        self.nudge(caller, "log")
        if len(caller.names) > 1:
            self._journals.ask(caller)

    def metrics_grew(self, run_id: int) -> None:
        self._metrics.ask(run_id)

    def is_note_due(self, caller: Caller) -> bool:
        """Say whether a beat is worth a write now; most are not."""
        now = time.monotonic()
        if now - self._noted_at.get(caller.process_id, float("-inf")) < NOTE_EVERY:
            return False
        self._noted_at[caller.process_id] = now
        return True

    def forget(self, caller: Caller) -> None:
        self._noted_at.pop(caller.process_id, None)


_states: WeakKeyDictionary[asyncio.AbstractEventLoop, State] = WeakKeyDictionary()


def state() -> State:
    return _states.setdefault(asyncio.get_running_loop(), State())


async def _nudge(nudge: Nudge) -> None:
    # A broker that hangs must not hold the nudges of tomorrow.
    try:
        await asyncio.wait_for(anudge(*nudge), NUDGE_PATIENCE)
    except TimeoutError:
        broker.complain("Watchers could not be nudged", TimeoutError("The broker does not answer."))


async def _journal(caller: Caller) -> None:
    await asyncio.to_thread(MergedLog(caller.label, caller.names).catch_up)


async def _ingest_metrics(run_id: int) -> None:
    await asyncio.to_thread(enqueue_ingest, run_id)
