"""Build environments of the local target: virtualenvs made by uv, named by their digest."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from uv import find_uv_bin

from workspace.compute.base import EnvironmentFailed
from workspace.compute.build_log import BuildLog, Log
from workspace.compute.environment_contents import PROBE, packages_of, versions_of
from workspace.compute.horovod_wheel import wheel_for
from workspace.compute.local_commands import run, variables
from workspace.environments_spec import EnvironmentSpec

UNFINISHED = ".building-"
ABANDONED_AFTER_SECONDS = 2 * 3600


def build(folder: Path, spec: EnvironmentSpec, log: Log) -> None:
    """Make the virtualenv `folder`: built beside its place, and renamed when it is whole."""
    if folder.exists():
        log(b"It is already there.\n")
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    with _unfinished_beside(folder) as unfinished:
        _fill(unfinished, spec, log)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            log(b"Another build of the same environment was faster; its result is used.\n")


def packages_in(folder: Path) -> Mapping[str, str]:
    """Give the exact version of every package that is installed."""
    frozen = subprocess.run(  # noqa: S603 - no text of a user is in the command
        [find_uv_bin(), "pip", "freeze", "--python", str(folder / "bin" / "python")],
        capture_output=True,
        text=True,
        check=True,
        env=variables(),
        cwd=folder,
    ).stdout
    return packages_of(frozen)


def versions_in(folder: Path) -> Mapping[str, str]:
    """Give the exact versions of what matters most in an environment."""
    printed = subprocess.run(  # noqa: S603 - no text of a user is in the command
        [str(folder / "bin" / "python"), "-I", str(PROBE)],
        capture_output=True,
        text=True,
        check=True,
        env=variables(),
        cwd=folder,
    ).stdout
    return versions_of(printed)


def size_of(folder: Path) -> int:
    """Give the bytes of all files, each counted once."""
    seen: set[int] = set()
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(parent, name))
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                size += status.st_size
    return size


def _fill(folder: Path, spec: EnvironmentSpec, log: Log) -> None:
    words = BuildLog(log)
    python = _choose_python(spec.pythons)
    words.say(f"Making a virtualenv with Python {python}.")
    make = [
        "venv",
        "--quiet",
        "--no-project",
        "--relocatable",
        "--allow-existing",
        "--python",
        python,
    ]
    if run([find_uv_bin(), *make, str(folder)], folder, words):
        wanted = " or ".join(spec.pythons)
        raise EnvironmentFailed(
            f"Python {python} was not found on this machine and could not be fetched. Install"
            f" Python {wanted} and try again.\n{words.last()}"
        )
    requirements = _write_lines(folder / "requirements.txt", spec.requirements)
    overrides = _write_lines(folder / "overrides.txt", spec.overrides)
    words.say(f"Installing {', '.join(spec.requirements)}.")
    install = [find_uv_bin(), "pip", "install", "--python", str(folder / "bin" / "python")]
    if run([*install, "--requirements", requirements, "--overrides", overrides], folder, words):
        raise EnvironmentFailed(words.last())
    if spec.horovod:
        wheel = wheel_for(folder.parent.parent / "wheels", folder, words)
        words.say(f"Installing {wheel.name}.")
        if run([*install, "--no-deps", str(wheel)], folder, words):
            raise EnvironmentFailed(words.last())


def _choose_python(versions: Sequence[str]) -> str:
    """Give the first of `versions` that this machine has, or the first of all, to be fetched."""
    find = [find_uv_bin(), "python", "find", "--system", "--no-python-downloads"]
    for version in versions:
        found = subprocess.run(  # noqa: S603 - versions are ours
            [*find, version],
            capture_output=True,
            env=variables(),
            cwd=tempfile.gettempdir(),
            check=False,
        )
        if found.returncode == 0:
            return version
    return versions[0]


def _write_lines(path: Path, lines: Sequence[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


@contextmanager
def _unfinished_beside(folder: Path) -> Iterator[Path]:
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
    unfinished.chmod(0o755)
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what killed builds left behind, long after any living build would have ended."""
    for left in parent.glob(f"{UNFINISHED}*"):
        if time.time() - left.stat().st_mtime > ABANDONED_AFTER_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
