"""Short runs that go on while a product is harmed, and what has to be true of each at its end."""

import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx

from tests.chaos.mischief import signal_if_alive
from tests.docker.docker_product import TARGET
from tests.docker.engine import BASE_IMAGE
from tests.docker.restartable_engine import OwnEngineProduct
from tests.product.product import OVER, Product
from tests.product.sources import script
from tests.product.steady_run import check_end
from tests.waiting import wait_for

PROGRAM = """
import sys
import time

code, lines = int(sys.argv[2]), int(sys.argv[4])
for number in range(lines):
    print(number, flush=True)
    time.sleep(0.05)
sys.exit(code)
"""
EVERY = 3  # of so many runs one is canceled, and one loses its runner
PATIENCE = 240.0
LOCAL = "local"
# A run in a container starts again when its engine did.
IN_CONTAINER: dict[str, Any] = {
    "compute_target": TARGET,
    "custom_docker_image": BASE_IMAGE,
    "max_restarts": 9,
}
ON_ENGINE = 0.6
# No round takes as long as any limit of a run: whoever sees one reached was misled by the clock.
TIMED_OUT = re.compile(r"within \d+ s|maximum duration")

T = TypeVar("T")


class ShortRuns:
    """Submits runs, spoils a few, and checks them all."""

    def __init__(self, product: Product, seed: int) -> None:
        self._product = product
        self._has_engine = isinstance(product, OwnEngineProduct)
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._spoiled: set[int] = set()
        self._others = set(self._all_numbers())
        self.submitted = 0

    def submit(self) -> None:
        """Submit a run, twice where the answer to the first time is lost."""
        params = {
            "--code": self._chance.choice([0, 0, 3]),
            "--lines": self._chance.randint(20, 120),
        }
        place: dict[str, Any] = {"compute_target": LOCAL}
        if self._has_engine and self.submitted % EVERY != 1 and self._chance.random() < ON_ENGINE:
            params["--code"], place = 0, IN_CONTAINER
        number = self._until_answered(
            lambda: self._product.submit(script(PROGRAM), script_params=params, **place)
        )
        self.submitted += 1
        if self.submitted % EVERY == 1:
            self._spoiled.add(number)
            time.sleep(2 * self._chance.random())
            self._until_answered(lambda: self._product.cancel(number))
        elif self.submitted % EVERY == 2:
            self._spoiled.add(number)
            self._kill_runner(number)

    def check(self, *, engine_restarts: int) -> None:
        """Wait for the end of every run since the first, and check what is left of it."""
        numbers = set(self._all_numbers()) - self._others
        assert len(numbers) >= self.submitted
        for number in sorted(numbers):
            run = self._product.wait_for_end(number, seconds=PATIENCE)
            check_end(self._product, number, run)
            self._check_one(number, run)
            assert run["restarts"] <= engine_restarts, f"run {number}"

    def _kill_runner(self, number: int) -> None:
        def runners_or_end() -> list[int] | bool:
            living = self._product.living(number)
            pids = [one.pid for one in living if one.is_runner]
            return pids or self._product.run(number)["status"] in OVER

        found = wait_for(runners_or_end, f"the runner of run {number}", PATIENCE)
        for pid in found if isinstance(found, list) else ():
            signal_if_alive(pid, signal.SIGKILL)

    def _check_one(self, number: int, run: dict[str, Any]) -> None:
        assert not TIMED_OUT.search(run["end_detail"]["message"]), run["end_detail"]
        params = run["config"]["script_params"]
        lines = self._product.log(number).decode().splitlines() if run["processes"] else []
        everything = [str(line) for line in range(int(params["--lines"]))]
        if number in self._spoiled:
            assert lines == everything[: len(lines)], f"run {number}"
            return
        for attempt in range(1, run["attempt"]):
            before = self._product.log(number, f"attempt-{attempt}-worker-0").decode().splitlines()
            assert before == everything[: len(before)], f"run {number}, attempt {attempt}"
        code = int(params["--code"])
        assert lines == everything, f"run {number}"
        assert run["status"] == ("Failed" if code else "Completed"), run["end_detail"]
        assert [process["exit_code"] for process in run["processes"]] == [code]

    def _all_numbers(self) -> Iterator[int]:
        cursor = ""
        while True:
            page = self._product.patiently(f"/runs?cursor={cursor}")
            yield from (run["number"] for run in page["runs"])
            cursor = page["next_cursor"]
            if not cursor:
                return

    def _until_answered(self, ask: Callable[[], T]) -> T:
        answers: list[T] = []

        def is_answered() -> bool:
            try:
                answers.append(ask())
            except httpx.TransportError:
                return False
            return True

        wait_for(is_answered, "an answer", PATIENCE)
        return answers[0]
