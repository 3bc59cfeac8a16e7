"""Our model server alone, without a site, on models of the benchmark's own."""

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from bench.peers import python_with
from bench.site import PROGRAMS, ROOT, free_port

TENSORFLOW = "2.21.0"
START_SECONDS = 180.0


@cache
def tensorflow_python() -> Path:
    """Return a Python with what the model server needs, installed once."""
    return python_with(
        f"tensorflow-cpu=={TENSORFLOW}",
        f"tensorflow-serving-api=={TENSORFLOW}",
        *_requirements(),
    )


def build_models(folder: Path) -> None:
    """Write the models `half` and `wide`."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [tensorflow_python(), PROGRAMS / "serving_models.py", folder]
    subprocess.run(command, check=True, capture_output=True, env=_variables())


def built_models(folder: Path) -> Path:
    """Return the folder with the models, built once below the benchmark's folder."""
    models = folder / "serving-models"
    if not models.exists():
        build_models(models)
    return models


def run_program(name: str, *arguments: str | Path) -> str:
    """Run a program of the benchmark with TensorFlow; return what it prints."""
    command = [tensorflow_python(), PROGRAMS / f"{name}.py", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_variables())
    return done.stdout


@contextmanager
def serving(model: Path, *flags: str) -> Iterator[str]:
    """Serve a model; yield the URL to predict at."""
    port = free_port()
    log = model.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                tensorflow_python(),
                "-m",
                "deploy.modelserver",
                "--host=127.0.0.1",
                f"--rest_api_port={port}",
                f"--model_name={model.name}",
                f"--model_base_path={model}",
                *flags,
            ],
            cwd=ROOT,
            env=_variables(),
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/readyz", process, log)
        yield f"http://127.0.0.1:{port}/v1/models/{model.name}:predict"
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 (our own server)
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(
        f"The model server did not start:\n{log.read_text(errors='replace')[-2000:]}"
    )


def _requirements() -> list[str]:
    text = (ROOT / "deploy" / "modelserver" / "requirements.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _variables() -> dict[str, str]:
    return os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
