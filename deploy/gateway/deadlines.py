"""Time limits for very many short tasks: one timer for all of them, a second coarse.

asyncio.timeout arms and disarms a timer of its own for each use, which is a tenth of what the
gateway spends on a request.
"""

import asyncio
import time

SWEEP_SECONDS = 0.25


class Deadlines:
    """Cancels tasks that are over their time. Belongs to one event loop."""

    def __init__(self) -> None:
        self._due: dict[asyncio.Task[object], float] = {}
        self._expired: set[asyncio.Task[object]] = set()
        self._is_sweeping = False

    def begin(self, seconds: float) -> asyncio.Task[object]:
        """Return the running task so many seconds from now; call `end` with what this gives."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A deadline is for a task.")
        self._due[task] = time.monotonic() + seconds
        if not self._is_sweeping:
            self._is_sweeping = True
            task.get_loop().call_later(SWEEP_SECONDS, self._sweep, task.get_loop())
        return task

    def end(self, task: asyncio.Task[object]) -> None:
        self._due.pop(task, None)

    def has_expired(self, task: asyncio.Task[object]) -> bool:
        """Return whether a cancellation came from here; the task may then go on."""
        if task not in self._expired:
            return False
        self._expired.discard(task)
        return task.uncancel() == 0

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for task in [task for task, due in self._due.items() if due < now]:
            del self._due[task]
            self._expired.add(task)
            task.cancel()
        self._is_sweeping = bool(self._due)
        if self._is_sweeping:
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)
