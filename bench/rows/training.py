"""Steps per second of a training under Trainyard beside the same program alone (G19)."""

import os
import re
import subprocess
from collections.abc import Iterator

from bench.bench import Bench
from bench.measure import Line, alternate
from bench.site import PROGRAMS

STEPS = ("--steps", "2000")


def measure(bench: Bench) -> Iterator[Line]:
    site = bench.site
    python = site.python()

    def under_trainyard() -> float:
        number = site.submit("steps", *STEPS)
        site.wait(number)
        return _steps_per_second(site.log(number))

    def alone() -> float:
        folder = bench.folder / "alone"
        folder.mkdir(exist_ok=True)
        with (folder / "log").open("w+b") as log:
            subprocess.run(
                [python, PROGRAMS / "steps.py", *STEPS],
                check=True,
                cwd=folder,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
            log.seek(0)
            return _steps_per_second(log.read())

    ours, bare = alternate(under_trainyard, alone, 11)
    yield Line(
        "training steps per second",
        ours,
        "steps/s",
        0.98,
        "the bare program",
        bare,
        of_ratio=True,
        is_least=True,
    )


def _steps_per_second(log: bytes) -> float:
    found = re.search(rb"steps/s ([\d.]+)", log)
    if not found:
        raise RuntimeError(f"The log ends with {log[-500:]!r}.")
    return float(found[1])
