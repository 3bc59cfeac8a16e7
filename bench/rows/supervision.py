"""What a tick over many live runs and services costs when every target answers at once."""

import os
import subprocess
import sys
from collections.abc import Iterator

from bench.bench import Bench
from bench.measure import Line
from bench.site import ROOT

RUNS = 1000
SERVICES = 100
TICKS = 12  # some checks come every ten seconds
GOAL_SECONDS = 1.0


def measure(bench: Bench) -> Iterator[Line]:
    home = bench.folder / "supervision"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "bench.programs.supervise", *map(str, (RUNS, SERVICES, TICKS))],
        check=True,
        cwd=ROOT,
        env={**os.environ, "TRAINYARD_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    typical, worst, queries = map(float, done.stdout.split())
    name = f"a tick over {RUNS:,} live runs and {SERVICES} services"
    yield Line(f"{name}, {queries:.0f} queries at most", typical, "s", GOAL_SECONDS)
    yield Line(f"{name}, the longest of {TICKS}", worst, "s", GOAL_SECONDS)
