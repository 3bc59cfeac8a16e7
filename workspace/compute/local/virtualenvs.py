"""Build environments of the local target: virtualenvs made by uv, named by their digest."""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from uv import find_uv_bin

from workspace.compute import confinement
from workspace.compute.base import EnvironmentBuildFailed
from workspace.compute.builds.build_log import BuildLog, Log
from workspace.compute.builds.contents import PROBE, packages_of, versions_of
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.local.commands import run, variables
from workspace.compute.local.horovod_wheel import wheel_for
from workspace.compute.requirements import without_hashes

UNFINISHED = ".building-"
ABANDONED_AFTER_SECONDS = 2 * 3600


def build(folder: Path, spec: EnvironmentSpec, log: Log) -> None:
    """Make the virtualenv `folder`: built beside its place, and renamed when it is whole.

    One that is there is used where nobody changed it since it was sealed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        if _seal_of(folder) == fingerprint_of(folder):
            log(b"It is already there.\n")
            return
        log(b"It was changed since it was built, so it is built again.\n")
        with suppress(OSError):  # another build was faster
            folder.rename(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
    with _unfinished_beside(folder) as unfinished:
        _fill(unfinished, spec, log)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            log(b"Another build of the same environment was faster; its result is used.\n")


def seal(folder: Path) -> str:
    """Record what a virtualenv is now that it is whole, and return its fingerprint."""
    found = fingerprint_of(folder)
    _seal_path(folder).write_text(found)
    return found


def fingerprint_of(folder: Path) -> str:
    """Return a digest of what a virtualenv is: of every name in it, and when each file changed.

    The time of change (ctime) is set by the kernel alone. A file that is linked into uv's cache
    gets a new one with every link, so there the other times and sizes have to do.
    """
    digest = hashlib.sha256()
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        with os.scandir(folder / inner) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            status = entry.stat(follow_symlinks=False)
            path = f"{inner}{entry.name}"
            digest.update(f"{path}\0{status.st_mode}\0".encode("utf-8", "surrogateescape"))
            if stat.S_ISDIR(status.st_mode):
                waiting.append(f"{path}/")
            elif stat.S_ISLNK(status.st_mode):
                digest.update(os.fsencode(os.readlink(entry.path)))
            else:
                changed = status.st_ctime_ns if status.st_nlink == 1 else 0
                digest.update(
                    f"{status.st_size} {status.st_mtime_ns} {status.st_ino} {changed}\0".encode()
                )
    return digest.hexdigest()


def prune(home: Path, digests: Collection[str]) -> int:
    """Remove what killed builds and removals left, once it is old; return how much.

    What belongs to the environments of `digests` stays.
    """
    before = time.time() - ABANDONED_AFTER_SECONDS
    found = [*(home / "environments").glob("*"), *(home / "wheels").glob(f"{UNFINISHED}*")]
    left = [
        path
        for path in found
        if path.name.partition(".")[0] not in digests and path.lstat().st_mtime < before
    ]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)


def remove(folder: Path) -> None:
    _seal_path(folder).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _seal_of(folder: Path) -> str:
    try:
        return _seal_path(folder).read_text()
    except FileNotFoundError:
        return ""


def _seal_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sealed")


def packages_in(folder: Path) -> Mapping[str, str]:
    """Return the exact version of every package that is installed."""
    python = str(folder / "bin" / "python")
    list_them = [find_uv_bin(), "pip", "freeze", "--no-config", "--no-cache", "--python", python]
    return packages_of(_output_of(list_them, folder, Path(find_uv_bin())))


def versions_in(folder: Path) -> Mapping[str, str]:
    """Return the exact versions of what matters most in an environment."""
    ask = [str(folder / "bin" / "python"), "-I", str(PROBE)]
    return versions_of(_output_of(ask, folder, PROBE))


def _output_of(command: Sequence[str], folder: Path, program: Path) -> str:
    """Return what a command prints that starts an environment's Python, and so what hooks it."""
    with tempfile.TemporaryDirectory() as scratch:
        allowed = confinement.of_look(folder.parent.parent, folder, [program], Path(scratch))
        return subprocess.run(  # noqa: S603 - no text of a user is in the command
            allowed.command(command),
            capture_output=True,
            text=True,
            check=True,
            env=variables() | {"TMPDIR": scratch},
            cwd=folder,
        ).stdout


def size_of(folder: Path) -> int:
    """Return the bytes of all files, each counted once."""
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
    words, home = BuildLog(log), folder.parent.parent
    python = _choose_python(spec.pythons)
    words.say(f"Creating a virtualenv with Python {python}.")
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
        raise EnvironmentBuildFailed(
            f"Python {python} was not found on this machine and could not be downloaded. Install"
            f" Python {wanted} and try again.\n{words.last()}"
        )
    requirements = _write_lines(folder / "requirements.txt", spec.requirements)
    overrides = _write_lines(folder / "overrides.txt", spec.overrides)
    words.say(f"Installing {', '.join(without_hashes(spec.requirements))}.")
    # Compiled now, since runs cannot write here.
    install = [find_uv_bin(), "pip", "install", "--compile-bytecode"]
    install += ["--python", str(folder / "bin" / "python")]
    confinement.uv_cache().mkdir(parents=True, exist_ok=True)  # which can't be made once confined
    install = confinement.of_build(home, folder, [folder], [home / "wheels"]).command(install)
    if run([*install, "--requirements", requirements, "--overrides", overrides], folder, words):
        raise EnvironmentBuildFailed(words.last())
    if spec.horovod:
        wheel = wheel_for(home, python, words)
        words.say(f"Installing {wheel.name}.")
        if run([*install, "--no-deps", str(wheel)], folder, words):
            raise EnvironmentBuildFailed(words.last())


def _choose_python(versions: Sequence[str]) -> str:
    """Return the first of `versions` that this machine has, or the first of all, to be fetched."""
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
