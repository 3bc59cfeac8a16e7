"""How often each key was used, and whether it may be used again now."""

import math
import time
from collections import deque
from collections.abc import Mapping

from django.db.models import F
from django.utils import timezone

from deploy.models import ServiceKey

WINDOW_SECONDS = 60.0


class KeyUsage:
    """Calls by key in this process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._calls: dict[int, deque[float]] = {}
        self._unwritten: dict[int, int] = {}

    def retry_after(self, key_id: int, calls_per_minute: int | None) -> int:
        """Count a call, or give the whole seconds until the key may be used again.

        Any stretch of a minute holds at most so many calls: each call's moment is remembered.
        """
        if calls_per_minute is not None:
            calls = self._calls.setdefault(key_id, deque())
            now = time.monotonic()
            while calls and calls[0] <= now - WINDOW_SECONDS:
                calls.popleft()
            if len(calls) >= calls_per_minute:
                oldest = calls[-calls_per_minute] if calls_per_minute else now
                return max(1, math.ceil(oldest + WINDOW_SECONDS - now))
            calls.append(now)
        self._unwritten[key_id] = self._unwritten.get(key_id, 0) + 1
        return 0

    def take_unwritten(self) -> dict[int, int]:
        """Return the calls of each key since the last time."""
        unwritten, self._unwritten = self._unwritten, {}
        long_ago = time.monotonic() - WINDOW_SECONDS
        self._calls = {key: calls for key, calls in self._calls.items() if calls[-1] > long_ago}
        return unwritten


def write_uses(uses: Mapping[int, int]) -> None:
    """Add calls to the counts of their keys."""
    now = timezone.now()
    for key_id, count in uses.items():
        ServiceKey.objects.filter(pk=key_id).update(
            use_count=F("use_count") + count, last_used_at=now
        )
