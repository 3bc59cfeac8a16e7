"""A Python that has TensorFlow, found or built once and kept for later test runs."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVER_REQUIREMENTS = ROOT / "deploy" / "modelserver" / "requirements.txt"
PACKAGES = [
    "tensorflow-cpu==2.21.0",
    "tf_keras==2.21.0",
    "tensorboard",
    "tensorflow-serving-api==2.21.0",
]
# Where tf.estimator still is. Its serving API would bring TensorFlow's larger package.
OLD_PACKAGES = ["tensorflow-cpu==2.15.1", "grpcio"]
OLD_SERVING_API = "tensorflow-serving-api==2.15.1"


def test_cache() -> Path:
    """Return the folder that outlives test runs."""
    folder = os.environ.get("TRAINYARD_TEST_CACHE", "~/.cache/trainyard-tests")
    cache = Path(folder).expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other test runs on this machine respect."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def find_tensorflow_python() -> Path:
    """Return TRAINYARD_TF_PYTHON, else the cached environment's Python, built where needed."""
    given = os.environ.get("TRAINYARD_TF_PYTHON")
    return Path(given) if given else _environment("tf-2.21", PACKAGES)


def find_old_tensorflow_python() -> Path:
    """Return the Python of a cached environment with TensorFlow 2.15, built where needed."""
    return _environment("tf-2.15", OLD_PACKAGES, OLD_SERVING_API)


def _environment(name: str, packages: list[str], alone: str = "") -> Path:
    """Return the Python of an environment; `alone` is installed without what it depends on."""
    environment = test_cache() / name
    wanted = "\n".join([*packages, *([alone] if alone else []), SERVER_REQUIREMENTS.read_text()])
    mark = environment / ".trainyard-requirements"
    python = environment / "bin" / "python"
    with locked(test_cache() / f"{name}.lock"):
        if not (mark.is_file() and mark.read_text() == wanted):
            uv = shutil.which("uv")
            if uv is None:
                raise RuntimeError("uv is needed to build the tests' TensorFlow environment")
            if not python.exists():
                _run([uv, "venv", "--quiet", "--python", "3.11", str(environment)])
            install = [uv, "pip", "install", "--quiet", "--python", str(python)]
            _run([*install, *packages, "-r", str(SERVER_REQUIREMENTS)])
            if alone:
                _run([*install, "--no-deps", alone])
            mark.write_text(wanted)
    return python


def build_saved_models(python: Path, script: str = "build_models.py") -> Path:
    """Return the folder with a script's SavedModels, built once for each state of the script."""
    path = Path(__file__).parent / "builders" / script
    digest = hashlib.sha256(path.read_bytes() + os.fsencode(python)).hexdigest()[:16]
    folder = test_cache() / f"saved-models-{digest}"
    with locked(test_cache() / "saved-models.lock"):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _run([str(python), str(path), str(unfinished)])
            unfinished.rename(folder)
    return folder


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
