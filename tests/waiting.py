"""Wait for what a test expects, instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# Whoever waits for minutes takes no processor from what it waits for.
LONGEST_PAUSE = 0.2


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = 60.0) -> T:
    """Return the first true result of `condition`; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(pause)
        pause = min(pause * 1.2, LONGEST_PAUSE)
    return answer
