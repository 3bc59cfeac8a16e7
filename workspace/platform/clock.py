"""How long ago something was and when it is due, whatever the wall clock does meanwhile.

The monotonic clock is the same for all processes of a machine. How far the wall clock is ahead of
it changes only when somebody sets the wall clock. The home keeps how it was set since the boot, so
a stored time is turned into a moment of the monotonic clock by how the wall clock was set when it
was stored. A time in the future, left by a clock that ran ahead, counts as now.
"""

import json
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone

MAX_REMEMBERED = 100_000
UNSEEN_SECONDS = 10.0  # a supervisor that starts again sees a step of the clock so late
AT_ONCE = timedelta(0)

SETTINGS_FILE = "clock.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MAX_SETTINGS = 100
SMALLEST_STEP_SECONDS = 1.0  # less is how clocks are kept right
LONGEST_LOOK_SECONDS = 0.1
log = logging.getLogger(__name__)


class ClockSetting(NamedTuple):
    """The wall clock was seen `ahead` seconds ahead of the monotonic one from `since` on by it."""

    since: float
    ahead: float


_ORIGIN = datetime.now(UTC) - timedelta(seconds=time.monotonic())
_moments: OrderedDict[datetime, float] = OrderedDict()
_lock = threading.Lock()
_settings: list[ClockSetting] = []
_settings_lock = threading.Lock()


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
    until = time.monotonic()
    found: list[tuple[float, float]] = []
    for since, ahead in reversed(clock_settings()):
        moment = min(max(at - ahead, since - UNSEEN_SECONDS), until + most_ahead)
        found.append((abs(at - ahead - moment), moment))
        until = since
    return min(found, key=lambda distance_and_moment: distance_and_moment[0])[1]


def clock_settings() -> list[ClockSetting]:
    """Return how the wall clock was set, the present setting last."""
    now, ahead = _read_clocks()
    with _settings_lock:
        if not _settings or _is_step(_settings[-1], ahead):
            _settings[:] = _load_settings() or _settings
            if not _settings:
                _settings.append(ClockSetting(-math.inf, ahead))
                _store_settings()
            elif _is_step(_settings[-1], ahead):
                _settings.append(ClockSetting(now, ahead))
                _store_settings()
        return list(_settings)


def forget_settings() -> None:
    """Forget what this process knows; the home does not."""
    with _settings_lock:
        _settings.clear()


def _read_clocks() -> tuple[float, float]:
    """Return the monotonic time, and how far the wall clock is ahead of it."""
    while True:
        before = time.monotonic()
        wall = timezone.now().timestamp()
        if time.monotonic() - before < LONGEST_LOOK_SECONDS:  # else this process was held up
            return before, wall - before


def _is_step(last: ClockSetting, ahead: float) -> bool:
    return abs(ahead - last.ahead) >= SMALLEST_STEP_SECONDS


def _load_settings() -> list[ClockSetting]:
    try:
        kept = json.loads(_settings_file().read_text())
        if kept["boot"] != _boot_id():
            return []
        return [ClockSetting(float(since), float(ahead)) for since, ahead in kept["settings"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError) as error:
        log.warning("Could not read how the clock was set: %s", error)
        return []


def _store_settings() -> None:
    del _settings[:-MAX_SETTINGS]
    file = _settings_file()
    draft = file.with_suffix(".new")
    try:
        draft.write_text(json.dumps({"boot": _boot_id(), "settings": _settings}))
        draft.replace(file)
    except OSError as error:
        log.warning("Could not keep how the clock was set: %s", error)


def _boot_id() -> str:
    return BOOT_ID.read_text().strip()


def _settings_file() -> Path:
    return Path(settings.TRAINYARD_HOME) / SETTINGS_FILE


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
