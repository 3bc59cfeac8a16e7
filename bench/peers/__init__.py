"""Other products from PyPI, each in a virtualenv of its own and measured there by our program."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from uv import find_uv_bin

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainyard-bench"


@cache
def ray() -> dict[str, float]:
    """Give Ray Jobs' times: post, first_line, twenty, stop; and lines a second of its log tail."""
    return _figures_of("ray_jobs", "ray[default]==2.60.0")


@cache
def kserve() -> dict[str, float]:
    """Give KServe's median time and requests a second with a model like ours in NumPy."""
    return _figures_of("kserve_numpy", "kserve==0.21.0")


def _figures_of(program: str, requirement: str) -> dict[str, float]:
    python = _python_with(requirement)
    said = subprocess.run(
        [python, HERE / f"{program}.py"], check=True, stdout=subprocess.PIPE, text=True
    )
    figures: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return figures


def _python_with(requirement: str) -> Path:
    folder = CACHE / requirement.replace("[default]", "")
    python = folder / "bin" / "python"
    if not (folder / "is-whole").exists():
        uv = find_uv_bin()
        make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        subprocess.run(make, check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python), requirement]
        subprocess.run(install, check=True)
        (folder / "is-whole").touch()
    return python
