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

from workspace.compute.base import EnvironmentBuildFailed
from workspace.compute.builds import horovod
from workspace.compute.builds.build_log import BuildLog
from workspace.compute.confinement import of_build
from workspace.compute.environment_spec import CURATED
from workspace.compute.local.commands import run, variables


def wheel_for(home: Path, python: str, words: BuildLog) -> Path:
    """Return the wheel for a version of Python, kept below the home or built anew.

    All teams share it, so nothing that packages of one may have changed takes part in building it.
    """
    wheels = home / "wheels"
    tensorflow = CURATED[horovod.FRAMEWORK_VERSION].tensorflow
    name = horovod.wheel_folder(python, tensorflow, _open_mpi_version())
    wheels.mkdir(parents=True, exist_ok=True)
    kept = wheels / name
    with _only_one(wheels / f"{name}.lock"):
        if not any(kept.glob("*.whl")):
            _build(home, kept, python, words)
    return next(kept.glob("*.whl"))


def _build(home: Path, kept: Path, python: str, words: BuildLog) -> None:
    missing = [name for name in ("mpicxx", "g++", "make") if shutil.which(name) is None]
    if missing:
        raise EnvironmentBuildFailed(
            f"Horovod is built on this machine, which has no {' and no '.join(missing)}: run"
            f" {horovod.HOST_LINE}, and submit the run again."
        )
    words.say("Building Horovod. This takes some minutes, once on this machine.")
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
        make = [uv, "venv", "--quiet", "--no-project", "--python", python, str(own)]
        confined = of_build(home, own, [folder])
        for command in (make, confined.command(install), confined.command(build)):
            if run(command, folder, words, horovod.BUILD_VARIABLES | path):
                raise EnvironmentBuildFailed(f"Horovod could not be built.\n{words.last()}")
        shutil.rmtree(kept, ignore_errors=True)
        (folder / "wheels").rename(kept)


def _open_mpi_version() -> str:
    found = re.search(r"\d+(\.\d+)+", _said(["mpirun", "--version"]))
    return found[0] if found else "unknown"


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(  # noqa: S603 - no text of a user is in the command
            command, capture_output=True, text=True, check=True, env=variables()
        ).stdout.strip()
    except FileNotFoundError as error:
        raise EnvironmentBuildFailed(
            f"Horovod needs {command[0]}, which is not on this machine: run {horovod.HOST_LINE},"
            " and submit the run again."
        ) from error


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
