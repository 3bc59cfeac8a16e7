"""Calls to the web process that are repeated until they are answered."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from runs.runner.wire import Fenced, Refused, Unreachable, Wire

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
KEEP_TRYING_SECONDS = 24 * 3600.0
Result = TypeVar("Result")


class GaveUp(Exception):
    """The web process did not answer for as long as there was reason to wait."""


class Line:
    """The way to the web process, through its restarts; every thread opens a wire of its own.

    Nobody gives up while the program runs, nor for a day after it.
    """

    def __init__(self, url: str, token: str, ca_bundle: str) -> None:
        self._place = (url, token, ca_bundle)
        self._give_up_at = float("inf")
        self.is_fenced = threading.Event()

    def open(self) -> Wire:
        return Wire(*self._place)

    def set_deadline(self) -> None:
        """Say that the program has ended, so that waiting gets an end too."""
        self._give_up_at = time.monotonic() + KEEP_TRYING_SECONDS

    def call(self, wire: Wire, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Make a call that the web process has no reason to refuse."""

        def attempt() -> dict[str, Any]:
            try:
                return wire.call(method, path, body)
            except Refused as refused:
                raise Unreachable(f"{method} {path} was refused: {refused}") from refused

        return self.insist(attempt)

    def insist(self, attempt: Callable[[], Result]) -> Result:
        """Repeat `attempt` with growing pauses while it raises Unreachable."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            if self.is_fenced.is_set():
                raise Fenced("this process has been replaced")
            try:
                return attempt()
            except Fenced:
                self.is_fenced.set()
                raise
            except Unreachable as trouble:
                if pause == FIRST_PAUSE_SECONDS or time.monotonic() > self._give_up_at:
                    sys.stderr.write(f"{trouble}\n")
                if time.monotonic() > self._give_up_at:
                    raise GaveUp(str(trouble)) from trouble
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
