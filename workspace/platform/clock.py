"""How long ago something was and when it is due, whatever the wall clock does meanwhile.

A stored time is turned into a moment of the monotonic clock once, by how the wall clock was set
when it was stored. A time in the future, left by a clock that ran ahead, counts as now.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime, timedelta

from workspace.platform.clock_settings import clock_settings

MAX_REMEMBERED = 100_000
UNSEEN_SECONDS = 10.0  # a supervisor that starts again sees a step of the clock so late
AT_ONCE = timedelta(0)

_ORIGIN = datetime.now(UTC) - timedelta(seconds=time.monotonic())
_moments: OrderedDict[datetime, float] = OrderedDict()
_lock = threading.Lock()


def steady_now() -> datetime:
    """Return the time by a clock that nobody sets. It may be compared with `steady` times alone."""
    return _ORIGIN + timedelta(seconds=time.monotonic())


def steady(at: datetime) -> datetime:
    """Return what the clock of `steady_now` showed when a stored time was now."""
    return _ORIGIN + timedelta(seconds=_moment_of(at, AT_ONCE))


def age_of(at: datetime) -> timedelta:
    """Return the time since `at`."""
    return timedelta(seconds=max(time.monotonic() - _moment_of(at, AT_ONCE), 0.0))


def has_come(at: datetime, *, at_most: timedelta) -> bool:
    """Return whether a time in the future has come, which is at most `at_most` away."""
    return time.monotonic() >= _moment_of(at, at_most)


def _moment_of(at: datetime, most_ahead: timedelta) -> float:
    """Return a stored time by the monotonic clock."""
    with _lock:
        if at in _moments:
            _moments.move_to_end(at)
        else:
            _moments[at] = _find_moment(at.timestamp(), most_ahead.total_seconds())
            if len(_moments) > MAX_REMEMBERED:
                _moments.popitem(last=False)
        return _moments[at]


def _find_moment(at: float, most_ahead: float) -> float:
    """Return when the wall clock showed `at`, for the last time, or else when it was nearest."""
    settings = clock_settings()
    until = time.monotonic()
    found: list[tuple[float, float]] = []
    for since, ahead in reversed(settings):
        moment = min(max(at - ahead, since - UNSEEN_SECONDS), until + most_ahead)
        found.append((abs(at - ahead - moment), moment))
        until = since
    return min(found, key=lambda distance_and_moment: distance_and_moment[0])[1]


class Stillness:
    """Counts for how long values stand still, by the looks of this process alone.

    No wall clock counts, and neither does a pause in the looks, such as of a database that is away:
    what was to change the value may have been held up by the same.
    """

    def __init__(self, max_pause: timedelta) -> None:
        self._max_pause = max_pause.total_seconds()
        self._looked_at = time.monotonic()
        self._seen: dict[Hashable, tuple[object, float]] = {}

    def look(self, values: Mapping[Hashable, object]) -> dict[Hashable, timedelta]:
        """Return for how long each of the values, by its key, has been what it is now."""
        now = time.monotonic()
        passed = min(now - self._looked_at, self._max_pause)
        self._looked_at = now
        seen: dict[Hashable, tuple[object, float]] = {}
        for key, value in values.items():
            before, seconds = self._seen.get(key, (None, 0.0))
            seen[key] = (value, seconds + passed if key in self._seen and before == value else 0.0)
        self._seen = seen
        return {key: timedelta(seconds=seconds) for key, (_, seconds) in seen.items()}


class Pace:
    """Remembers when something was last done for a key; it is due again `seconds` later."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._done_at: dict[Hashable, float] = {}

    def is_due(self, key: Hashable, seconds: float | None = None) -> bool:
        """Return whether it is time to do it for `key` again, and take that as done."""
        now = time.monotonic()
        pause = self._seconds if seconds is None else seconds
        if now - self._done_at.get(key, float("-inf")) < pause:
            return False
        self._done_at[key] = now
        return True

    def forget(self, *keys: Hashable) -> None:
        """Forget keys that will not come again, or that are due at once if they do."""
        for key in keys:
            self._done_at.pop(key, None)

    def clear(self) -> None:
        self._done_at.clear()
