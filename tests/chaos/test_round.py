"""A round of chaos: whatever is killed, paused or full, every run ends once and truly.

The tests of every change have a short one; `make chaos` makes one of any seed and length.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.chaos.mischief import Mischief
from tests.chaos.own_postgres import OwnPostgres, missing_for_postgres, running_postgres
from tests.chaos.short_runs import LOCAL, PATIENCE, ShortRuns
from tests.chaos.stepped_clock import SteppedClock, missing_for_a_clock, stepped_clock
from tests.docker.engine import missing_for_an_engine
from tests.docker.restartable_engine import OwnEngine, OwnEngineProduct, running_own_engine
from tests.product.fixtures import share_environments
from tests.product.product import Product
from tests.product.small_disk import small_disk
from tests.product.sources import script
from tests.product.test_serving import EXPORT, score
from tests.waiting import wait_for

pytestmark = [pytest.mark.product, pytest.mark.tensorflow]
SECONDS = float(os.environ.get("CHAOS_SECONDS") or 15)
SEED = int(os.environ.get("CHAOS_SEED") or 4)
DISK_BYTES = 32 * 1024**2
RUNS_AT_ONCE = 3
BUILD_PATIENCE = 900.0


@pytest.fixture
def clock() -> Iterator[SteppedClock | None]:
    if missing_for_a_clock():
        yield None
        return
    with stepped_clock() as made:
        yield made


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def postgres(
    request: pytest.FixtureRequest, clock: SteppedClock | None
) -> Iterator[OwnPostgres | None]:
    if request.param == "SQLite":
        yield None
        return
    if missing := missing_for_postgres():
        pytest.skip(missing)
    with running_postgres(clock.variables if clock else {}) as made:
        yield made


@pytest.fixture
def engine(postgres: OwnPostgres | None) -> Iterator[OwnEngine | None]:
    """Yield an engine for the round on SQLite; one of the two is enough."""
    if postgres or missing_for_an_engine():
        yield None
        return
    with running_own_engine("chaos", "10.216.0") as made:
        yield made


@pytest.fixture
def product(
    tmp_path: Path,
    shared_product: Product,
    clock: SteppedClock | None,
    engine: OwnEngine | None,
    postgres: OwnPostgres | None,
) -> Iterator[Product]:
    folder = tmp_path / "product"
    folder.mkdir()
    variables = clock.variables if clock else {}
    database = postgres.url if postgres else ""
    made = (
        OwnEngineProduct(folder, engine, variables, database)
        if engine
        else Product(folder, variables, database)
    )
    share_environments(shared_product, made)
    made.start()
    yield made
    made.end()


def test_every_run_ends_once_and_nothing_is_left_over_after_a_round_of_chaos(
    product: Product, clock: SteppedClock | None, postgres: OwnPostgres | None
) -> None:
    for missing in (missing_for_a_clock(), missing_for_an_engine()):
        assert not (missing and os.environ.get("TRAINYARD_CI")), missing
    is_root = os.geteuid() == 0
    disk = small_disk(product.home / "groups", DISK_BYTES) if is_root else nullcontext()
    with disk, service(product) as key:
        mischief = Mischief(product, SEED, clock, postgres)
        runs = ShortRuns(product, SEED)
        until = time.monotonic() + SECONDS
        try:
            while time.monotonic() < until or not mischief.has_done_everything:
                if sum(one.is_runner for one in product.living_runs()) < RUNS_AT_ONCE:
                    runs.submit()
                mischief.do_something()
        finally:
            tell(mischief, runs)
        product.start()
        runs.check(engine_restarts=mischief.engine_restarts)
        wait_for(lambda: score(product, key) == 11.0, "an answer of the service", PATIENCE)
        state = lambda: product.patiently("/services/plus")["state"]  # noqa: E731
        wait_for(lambda: state() == "Healthy", "a healthy service", PATIENCE)
        assert len(product.patiently("/services/plus")["replicas"]) == 1
    wait_for(lambda: not product.living_replicas(), "the end of the replicas", PATIENCE)
    wait_for(lambda: not list(product.home.glob("local/*-*")), "an empty target", PATIENCE)
    if isinstance(product, OwnEngineProduct):
        wait_for(lambda: product.left() == [], "an empty engine", PATIENCE)


def tell(mischief: Mischief, runs: ShortRuns) -> None:
    """Print what the round was, so that it can be repeated."""
    print(f"\nSEED={SEED} SECONDS={SECONDS:g}: {runs.submitted} runs, and so often there was:")
    for what, times in sorted(mischief.done.items()):
        print(f"{times:6} {what}")
    if os.geteuid() != 0:
        print("   none fill the disk (only root can mount a small one)")
    if missing := missing_for_a_clock():
        print(f"   none set the clock ({missing})")
    if missing := missing_for_an_engine():
        print(f"   none restart the engine ({missing})")


@contextmanager
def service(product: Product) -> Iterator[str]:
    """Have a small model served, from some time in the block on; yields the key of its service."""
    run = product.submit(script(EXPORT), framework_version="2.21", compute_target=LOCAL)
    assert product.wait_for_end(run, seconds=BUILD_PATIENCE)["status"] == "Completed"
    registration = {"run": run, "path": "outputs/plus1", "name": "plus"}
    product.post("/models", {**registration, "framework_version": "2.21"})
    key = product.post("/services", {"name": "plus", "model": "plus:1"})["secrets"]["primary"]
    yield key
    assert product.call("DELETE", "/services/plus").status_code == 204
