"""Other products from PyPI, each in a virtualenv of its own and run there by our program."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from uv import find_uv_bin

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainyard-bench"


@cache
def ray() -> dict[str, float]:
    """Return Ray Jobs' times: post, first_line, twenty, stop; and log lines a second."""
    return _figures_of("ray_jobs", "ray[default]==2.60.0")


@dataclass(frozen=True)
class Peer:
    """A model server with a model like ours in NumPy, and the body that asks it."""

    url: str
    body: bytes


def kserve() -> AbstractContextManager[Peer]:
    """Run KServe's Python server."""
    return _serving("kserve_numpy", "kserve==0.21.0")


def mlflow() -> AbstractContextManager[Peer]:
    """Run `mlflow models serve`."""
    return _serving("mlflow_serve", "mlflow==3.17.2")


def bentoml() -> AbstractContextManager[Peer]:
    """Run BentoML."""
    return _serving("bentoml_numpy", "bentoml==1.4.39", "numpy")


@contextmanager
def _serving(program: str, *requirements: str) -> Iterator[Peer]:
    """Run a program that says where it serves, and serves until its input ends."""
    process = subprocess.Popen(
        [python_with(*requirements), HERE / f"{program}.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("A process without pipes.")
    try:
        said = process.stdout.readline()
        if not said:
            raise RuntimeError(f"{program} ended before it served")
        given = json.loads(said)
        yield Peer(given["url"], given["body"].encode())
    finally:
        process.stdin.close()
        process.wait()


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
