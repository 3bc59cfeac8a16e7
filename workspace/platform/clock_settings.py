"""How the wall clock of this machine was set since its boot, as the processes of a home saw it.

The monotonic clock is the same for all processes of a machine. How far the wall clock is ahead of
it changes only when somebody sets the wall clock, so a stored time tells its moment for as long as
it is known how the clock was set then. The home keeps that in a file, for processes to come.
"""

import json
import logging
import math
import threading
import time
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone

from runner.process_directory import write_json

FILE = "clock.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MAX_KEPT = 100
SMALLEST_STEP_SECONDS = 1.0  # less is how clocks are kept right
LONGEST_LOOK_SECONDS = 0.1
log = logging.getLogger(__name__)


class ClockSetting(NamedTuple):
    """The wall clock was seen `ahead` seconds ahead of the monotonic one from `since` on by it."""

    since: float
    ahead: float


_known: list[ClockSetting] = []
_lock = threading.Lock()


def clock_settings() -> list[ClockSetting]:
    """Return how the wall clock was set, the present setting last."""
    now, ahead = _look()
    with _lock:
        if not _known or _is_step(_known[-1], ahead):
            _known[:] = _load()
            if not _known:
                _known.append(ClockSetting(-math.inf, ahead))
                _store()
            elif _is_step(_known[-1], ahead):
                _known.append(ClockSetting(now, ahead))
                _store()
        return list(_known)


def forget() -> None:
    """Forget what this process knows; the home does not."""
    with _lock:
        _known.clear()


def _look() -> tuple[float, float]:
    """Return the monotonic time, and how far the wall clock is ahead of it."""
    while True:
        before = time.monotonic()
        wall = timezone.now().timestamp()
        if time.monotonic() - before < LONGEST_LOOK_SECONDS:  # else this process was held up
            return before, wall - before


def _is_step(last: ClockSetting, ahead: float) -> bool:
    return abs(ahead - last.ahead) >= SMALLEST_STEP_SECONDS


def _load() -> list[ClockSetting]:
    try:
        kept = json.loads(_file().read_text())
        if kept["boot"] != _boot():
            return []
        return [ClockSetting(float(since), float(ahead)) for since, ahead in kept["settings"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError) as error:
        log.warning("Could not read how the clock was set: %s", error)
        return []


def _store() -> None:
    del _known[:-MAX_KEPT]
    try:
        write_json(str(_file()), {"boot": _boot(), "settings": _known})
    except OSError as error:
        log.warning("Could not keep how the clock was set: %s", error)


def _boot() -> str:
    return BOOT_ID.read_text().strip()


def _file() -> Path:
    return Path(settings.TRAINYARD_HOME) / FILE
