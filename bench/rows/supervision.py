"""How long the supervisor's look at many live runs takes, when every target answers at once."""

import os
import subprocess
import sys
from collections.abc import Iterator

from bench.bench import Bench
from bench.measure import Line
from bench.site import ROOT

RUNS = 1000
GOAL_SECONDS = 1.0


def measure(bench: Bench) -> Iterator[Line]:
    home = bench.folder / "supervision"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "bench.programs.supervise", str(RUNS)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "TRAINYARD_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    seconds, queries = done.stdout.split()
    name = f"a tick over {RUNS:,} live runs, {queries} queries"
    yield Line(name, float(seconds), "s", GOAL_SECONDS)
