"""Build Horovod's wheel on this machine, once for each Python, TensorFlow and Open MPI."""

import fcntl
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uv import find_uv_bin

from workspace.compute import horovod
from workspace.compute.base import EnvironmentFailed
from workspace.compute.build_log import BuildLog
from workspace.compute.local_commands import run, variables
from workspace.environments_spec import CURATED


def wheel_for(wheels: Path, environment: Path, words: BuildLog) -> Path:
    """Give the wheel for the Python of a virtualenv, from below `wheels` or built anew."""
    tensorflow = CURATED[horovod.FRAMEWORK_VERSION].tensorflow
    python = environment / "bin" / "python"
    name = horovod.wheel_folder(_version_of(python), tensorflow, _open_mpi_version())
    wheels.mkdir(parents=True, exist_ok=True)
    kept = wheels / name
    with _only_one(wheels / f"{name}.lock"):
        if not any(kept.glob("*.whl")):
            _build(kept, python, words)
    return next(kept.glob("*.whl"))


def _build(kept: Path, python: Path, words: BuildLog) -> None:
    missing = [name for name in ("mpicxx", "g++", "make") if shutil.which(name) is None]
    if missing:
        raise EnvironmentFailed(
            f"Horovod is built on this machine, which has no {' and no '.join(missing)}: run"
            f" {horovod.HOST_LINE}, and submit the run again."
        )
    words.say("Building Horovod. It takes some minutes, once on this machine.")
    with tempfile.TemporaryDirectory(prefix=".building-", dir=kept.parent) as made:
        folder = Path(made)
        own = folder / "environment"
        framework = CURATED[horovod.FRAMEWORK_VERSION].requirements(gpu=False)
        uv = find_uv_bin()
        install = [uv, "pip", "install", "--python", str(own), *framework, *horovod.BUILD_NEEDS]
        build = [
            *(str(own / "bin" / "python"), "-m", "pip", "wheel", "--no-build-isolation"),
            *("--no-deps", "--no-cache-dir", "--wheel-dir", str(folder / "wheels")),
            f"horovod=={horovod.VERSION}",
        ]
        path = {"PATH": f"{own / 'bin'}:{variables()['PATH']}"}
        for command in ([uv, "venv", "--quiet", "--python", str(python), str(own)], install, build):
            if run(command, folder, words, horovod.BUILD_VARIABLES | path):
                raise EnvironmentFailed(f"Horovod could not be built.\n{words.last()}")
        shutil.rmtree(kept, ignore_errors=True)
        (folder / "wheels").rename(kept)


def _version_of(python: Path) -> str:
    return _said([str(python), "-c", "import sys; print(*sys.version_info[:2], sep='.')"])


def _open_mpi_version() -> str:
    found = re.search(r"\d+(\.\d+)+", _said(["mpirun", "--version"]))
    return found[0] if found else "unknown"


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(  # noqa: S603 - no text of a user is in the command
            command, capture_output=True, text=True, check=True, env=variables()
        ).stdout.strip()
    except FileNotFoundError as error:
        raise EnvironmentFailed(
            f"Horovod needs {command[0]}, which is not on this machine: run {horovod.HOST_LINE},"
            " and submit the run again."
        ) from error


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
