"""What befalls a product in a round of chaos, one thing after the other, as a seed decides."""

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.config.server.launched import is_alive
from tests.product.product import PARTS, Product

LONGEST_SECONDS = 6.0  # longer than the lease of a supervisor that is paused


class Mischief:
    """Does harm to a product that no run may suffer from, and keeps count of it."""

    def __init__(self, product: Product, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._product = product
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._kinds: list[Callable[[], str]] = [
            self._kill_part,
            self._kill_part,
            self._pause_part,
            self._pause_program,
            self._kill_everything,
        ]
        if not os.environ.get("DATABASE_URL"):
            self._kinds.append(self._lock_database)
        if os.path.ismount(self._disk):
            self._kinds.append(self._fill_disk)

    def do_something(self) -> None:
        self.done[self._chance.choice(self._kinds)()] += 1
        time.sleep(self._chance.random())

    @property
    def _disk(self) -> Path:
        return self._product.home / "groups"

    def _seconds(self) -> float:
        return self._chance.uniform(0.2, LONGEST_SECONDS)

    def _part(self) -> str:
        return self._chance.choice(sorted(PARTS))

    def _kill_part(self) -> str:
        name = self._part()
        self._product.kill(name)
        return f"kill {name}"

    def _pause_part(self) -> str:
        name, seconds = self._part(), self._seconds()
        with paused(self._product.part(name)):
            time.sleep(seconds)
        return f"pause {name}"

    def _pause_program(self) -> str:
        """Pause a runner or a program of a run."""
        seconds = self._seconds()
        living = sorted(self._product.living_runs(), key=lambda one: one.pid)
        if not living:
            return "find nothing to pause"
        chosen = self._chance.choice(living)
        with paused(chosen.pid):
            time.sleep(seconds)
        return "pause a runner" if chosen.is_runner else "pause a program"

    def _kill_everything(self) -> str:
        self._product.kill_everything()
        time.sleep(self._chance.random())
        self._product.start()
        return "kill everything"

    def _lock_database(self) -> str:
        """Keep everybody else from writing, and so from most of what they do."""
        seconds = self._seconds()
        with closing(sqlite3.connect(self._product.home / "db.sqlite3", timeout=30)) as database:
            database.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            database.rollback()
        return "lock the database"

    def _fill_disk(self) -> str:
        """Leave no byte for logs."""
        seconds, ballast = self._seconds(), self._disk / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                fill(file.write)
            time.sleep(seconds)
        finally:
            ballast.unlink(missing_ok=True)
        return "fill the disk"


def fill(write: Callable[[bytes], int]) -> None:
    """Write until nothing more fits."""
    for size in (1024 * 1024, 4096):
        try:
            while True:
                write(bytes(size))
        except OSError:
            continue


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Stop a process for a while, unless it ends."""
    signal_if_alive(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_if_alive(pid, signal.SIGCONT)


def signal_if_alive(pid: int, number: signal.Signals) -> None:
    """Send a signal, unless the process ended before."""
    try:
        if is_alive(pid):
            os.kill(pid, number)
    except ProcessLookupError:
        return
