"""What befalls a product in a round of chaos, one thing after the other, as a seed decides."""

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from tests.chaos.own_postgres import OwnPostgres
from tests.chaos.stepped_clock import SteppedClock
from tests.config.server.launched import is_alive
from tests.docker.engine import forget_networks
from tests.docker.restartable_engine import OwnEngineProduct
from tests.product.product import PARTS, Product

LONGEST_SECONDS = 6.0  # longer than the lease of a supervisor that is paused
LONGEST_STEP_SECONDS = 3 * 60 * 60
ENGINE_STOP, ENGINE_KILL = "stop the engine for a while", "kill the engine"


class Mischief:
    """Does harm to a product that no run may suffer from, and keeps count of it.

    Every kind of harm comes once before one comes again.
    """

    def __init__(
        self,
        product: Product,
        seed: int,
        clock: SteppedClock | None,
        postgres: OwnPostgres | None,
    ) -> None:
        self.done: Counter[str] = Counter()
        self.has_done_everything = False
        self._product = product
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._kinds: list[Callable[[], str]] = [
            self._kill_part,
            self._kill_part,
            self._pause_part,
            self._pause_program,
            self._kill_everything,
        ]
        if clock is not None:
            self._clock = clock
            self._kinds += [self._step_clock, self._step_clock]
        if postgres is None:
            self._kinds.append(self._lock_database)
        else:
            self._postgres = postgres
            self._kinds += [self._restart_postgres, self._pause_postgres]
        if isinstance(product, OwnEngineProduct):
            self._engine = product.engine
            self._kinds += [self._restart_engine, self._pause_engine]
        if os.path.ismount(self._disk):
            self._kinds.append(self._fill_disk)
        self._coming: list[Callable[[], str]] = []

    def do_something(self) -> None:
        if not self._coming:
            self._coming = self._chance.sample(self._kinds, len(self._kinds))
        self.done[self._coming.pop()()] += 1
        self.has_done_everything |= not self._coming
        time.sleep(self._chance.random())

    @property
    def engine_restarts(self) -> int:
        return self.done[ENGINE_STOP] + self.done[ENGINE_KILL]

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

    def _step_clock(self) -> str:
        """Set the clock of the product and of its PostgreSQL ahead, or back."""
        before = self._clock.seconds_ahead
        self._clock.set(self._chance.randint(-LONGEST_STEP_SECONDS, LONGEST_STEP_SECONDS))
        return f"set the clock {'ahead' if self._clock.seconds_ahead > before else 'back'}"

    def _restart_postgres(self) -> str:
        seconds = self._seconds()
        self._postgres.stop()
        time.sleep(seconds)
        self._postgres.start()
        return "stop PostgreSQL for a while"

    def _pause_postgres(self) -> str:
        seconds = self._seconds()
        with ExitStack() as paused_ones:
            for pid in self._postgres.processes():
                paused_ones.enter_context(paused(pid))
            time.sleep(seconds)
        return "pause PostgreSQL"

    def _restart_engine(self) -> str:
        """Let the engine end in good order or not; its containers end, too, at its restart."""
        how, seconds = self._chance.choice([ENGINE_STOP, ENGINE_KILL]), self._seconds()
        (self._engine.stop if how == ENGINE_STOP else self._engine.kill)()
        time.sleep(seconds)
        forget_networks(self._engine.folder)
        self._engine.start()
        return how

    def _pause_engine(self) -> str:
        with paused(self._engine.pid):
            time.sleep(self._seconds())
        return "pause the engine"

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
