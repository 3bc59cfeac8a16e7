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
    """Give KServe's figures with a model like ours in NumPy.

    That is the median time at one connection, and requests a second and the 99th percentile of
    the times at eight.
    """
    return _figures_of("kserve_numpy", "kserve==0.21.0")


@cache
def mlflow() -> dict[str, float]:
    """Give the same figures of `mlflow models serve`."""
    return _figures_of("mlflow_serve", "mlflow==3.17.2")


@cache
def bentoml() -> dict[str, float]:
    """Give the same figures of BentoML."""
    return _figures_of("bentoml_numpy", "bentoml==1.4.39", "numpy")


def _figures_of(program: str, *requirements: str) -> dict[str, float]:
    python = python_with(*requirements)
    said = subprocess.run(
        [python, HERE / f"{program}.py"], check=True, stdout=subprocess.PIPE, text=True
    )
    figures: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return figures


def python_with(*requirements: str) -> Path:
    """Return the Python of a virtualenv with these packages, made once and kept."""
    folder = CACHE / requirements[0].replace("[default]", "")
    python = folder / "bin" / "python"
    mark = folder / "is-whole"
    wanted = "\n".join(requirements)
    if not mark.exists() or mark.read_text() not in ("", wanted):
        uv = find_uv_bin()
        make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        subprocess.run(make, check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python), *requirements]
        subprocess.run(install, check=True)
        mark.write_text(wanted)
    return python
