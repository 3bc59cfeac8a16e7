"""Ship the logs of the ranks that run on this node, each as it appears and grows."""

from __future__ import annotations

import os
import threading

from runs.runner.line import Line
from runs.runner.shipping import LogShipper

LOOK_SECONDS = 0.1


class RankLogs(threading.Thread):
    def __init__(self, line: Line, folder: str, *, is_resumed: bool) -> None:
        super().__init__(name="ranks", daemon=True)
        self._line = line
        self._folder = folder
        self._is_resumed = is_resumed
        self._over = threading.Event()
        self._shippers: dict[str, LogShipper] = {}

    def finish(self) -> None:
        """Return when all is stored; the ranks must have ended."""
        self._over.set()
        self.join()
        for shipper in self._shippers.values():
            shipper.finish()

    def run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._over.wait(LOOK_SECONDS)
            if os.path.isdir(self._folder):
                for name in sorted(set(os.listdir(self._folder)) - self._shippers.keys()):
                    self._ship(name)

    def _ship(self, name: str) -> None:
        rank = name.partition(".")[0]
        shipper = LogShipper(
            self._line,
            os.path.join(self._folder, name),
            is_resumed=self._is_resumed,
            path=f"log?rank={rank}&",
        )
        self._shippers[name] = shipper
        shipper.start()
