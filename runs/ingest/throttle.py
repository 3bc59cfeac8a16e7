"""Do what is asked for often seldom: at once, then at intervals, and the last time for certain."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
log = logging.getLogger(__name__)


class Throttle(Generic[K]):
    """Runs `action` for a key when asked, at most every `seconds`; no asking goes unheard."""

    def __init__(self, seconds: float, action: Callable[[K], Awaitable[object]]) -> None:
        self._seconds = seconds
        self._action = action
        self._called_again: dict[K, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, key: K) -> None:
        if key in self._called_again:
            self._called_again[key] = True
            return
        self._called_again[key] = False
        task = asyncio.create_task(self._run(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: K) -> None:
        try:
            while True:
                try:
                    await self._action(key)
                except Exception:
                    log.exception("Throttled action for %s failed", key)
                await asyncio.sleep(self._seconds)
                if not self._called_again[key]:
                    return
                self._called_again[key] = False
        finally:
            del self._called_again[key]
