"""The log of an environment's build: passed on as it comes, its last lines kept."""

from collections.abc import Callable
from typing import Any

LAST_LINES = 40
KEPT_BYTES = 16384
Log = Callable[[bytes], Any]


class BuildLog:
    """Passes a log on and remembers its last lines, for the error that may follow."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._kept = b""

    def say(self, text: str) -> None:
        self.add(f"{text}\n".encode())

    def add(self, chunk: bytes) -> None:
        """Pass on a piece of output; an empty one asks whether the build is still wanted."""
        self._log(chunk)
        self._kept = (self._kept + chunk)[-KEPT_BYTES:]

    def last(self) -> str:
        lines = self._kept.decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-LAST_LINES:])
