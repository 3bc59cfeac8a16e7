"""What the database had moments ago, kept by event loops that answer much more than it changes.

While the database does not answer, the last values hold for `TRAINYARD_SERVE_STALE_SECONDS`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from django.conf import settings
from django.db import Error

from deploy.gateway.errors import GatewayError

CACHE_SECONDS = 0.5
PATIENCE_SECONDS = 1.0  # where an older value is at hand
LONGEST_WAIT_SECONDS = 20.0
MAX_BYTES = 32 * 1024 * 1024
ENTRY_BYTES = 2048  # a value and what keeps it, roughly

Key = TypeVar("Key", bound=tuple[str, ...])
Value = TypeVar("Value")


class DatabaseAway(GatewayError):
    """Nothing is known without the database."""

    def __init__(self) -> None:
        super().__init__(503, "The database does not answer; try again", {b"retry-after": b"1"})


class _Known(NamedTuple, Generic[Value]):
    at: float
    value: Value


class _Reading(NamedTuple, Generic[Value]):
    began: float
    task: "asyncio.Future[Value]"


class RecentValues(Generic[Key, Value]):
    """Values by key. Belongs to one event loop; requests that meet share one read.

    `is_outdated` tells of a key whether what was read at a monotonic time no longer holds.
    """

    def __init__(
        self, read: Callable[[Key], Awaitable[Value]], is_outdated: Callable[[Key, float], bool]
    ) -> None:
        self._read = read
        self._is_outdated = is_outdated
        self._known: dict[Key, _Known[Value]] = {}
        self._bytes = 0
        self._reading: dict[Key, _Reading[Value]] = {}
        self._away_until = float("-inf")

    async def get(self, key: Key) -> Value:
        """Return a value; raises DatabaseAway where it is neither to be read nor known."""
        known = self._known.get(key)
        if known is not None and self._is_outdated(key, known.at):
            known = None
        if known is None:
            return await self._read_by(key, LONGEST_WAIT_SECONDS)
        now = time.monotonic()
        age = now - known.at
        is_usable = age < settings.TRAINYARD_SERVE_STALE_SECONDS
        if age < CACHE_SECONDS or (is_usable and self._is_away(key, now)):
            return known.value
        if not is_usable:
            return await self._read_by(key, LONGEST_WAIT_SECONDS)
        try:
            return await self._read_by(key, PATIENCE_SECONDS)
        except DatabaseAway:
            self._away_until = time.monotonic() + PATIENCE_SECONDS
            return known.value

    def _is_away(self, key: Key, now: float) -> bool:
        """Return whether the last question failed just now, or waits for its answer already."""
        reading = self._reading.get(key)
        return now < self._away_until or (
            reading is not None and now - reading.began >= PATIENCE_SECONDS
        )

    async def _read_by(self, key: Key, seconds: float) -> Value:
        reading = self._reading.get(key)
        if reading is None or self._is_outdated(key, reading.began):
            task = asyncio.ensure_future(self._read(key))
            reading = self._reading[key] = _Reading(time.monotonic(), task)
            task.add_done_callback(lambda task: self._keep(key, task))
        await asyncio.wait([reading.task], timeout=seconds)
        if not reading.task.done():
            raise DatabaseAway
        try:
            return reading.task.result()
        except Error as error:
            raise DatabaseAway from error

    def _keep(self, key: Key, task: "asyncio.Future[Value]") -> None:
        has_failed = task.cancelled() or task.exception() is not None
        reading = self._reading.get(key)
        if reading is None or reading.task is not task:
            return
        del self._reading[key]
        if has_failed:
            return
        if self._known.pop(key, None) is None:
            self._bytes += _size_of(key)
        self._known[key] = _Known(reading.began, task.result())
        while self._bytes > MAX_BYTES:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._bytes -= _size_of(oldest)


def _size_of(key: tuple[str, ...]) -> int:
    return ENTRY_BYTES + sum(map(len, key))
