"""Install what Trainyard needs into .venv, node_modules and staticfiles; do nothing if it is there.

Runs in whatever Python the machine has, before anything is installed: standard library only, and
no syntax that an older Python cannot read, so that it can say which one it needs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
# Not the one in .venv, though that may be the one that runs: it is cleared to be made anew.
MACHINE_PYTHON = getattr(sys, "_base_executable", sys.executable)
RECORD = VENV / "trainyard.json"
REQUIREMENTS = ROOT / "requirements"
OLDEST = (3, 11)
NEWER_NAMES = ("python3.13", "python3.12", "python3.11", "python3.14")


class InstallFailed(Exception):
    """Holds the sentence that says what to do."""


def main(arguments: list[str]) -> int:
    try:
        use_new_enough_python(arguments)
        install(with_dev_tools="--dev" in arguments, only_packages="--packages" in arguments)
    except InstallFailed as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"The step failed: {command_line(error.cmd)}", file=sys.stderr)
        return 1
    return 0


def use_new_enough_python(arguments: list[str]) -> None:
    """Go on in another Python of this machine where this one is too old."""
    if sys.version_info >= OLDEST:
        return
    for name in NEWER_NAMES:
        other = shutil.which(name)
        if other:
            os.execv(other, [other, "-m", "config.server.install", *arguments])  # noqa: S606
    raise InstallFailed(
        f"Trainyard needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and {sys.executable} is"
        f" {sys.version_info[0]}.{sys.version_info[1]}: install a newer one, or name it with"
        " make PYTHON=/path/to/python3."
    )


def install(*, with_dev_tools: bool, only_packages: bool = False) -> None:
    """Do the steps that are due; the packages alone need no file of our own but their lists."""
    done = read_record()
    kind = "dev" if with_dev_tools or done.get("kind") == "dev" else "base"
    wanted = {
        "kind": kind,
        "packages": digest_of(REQUIREMENTS / f"{name}.txt" for name in ("uv", "base", kind)),
        "front end": digest_of([ROOT / "package-lock.json"]),
    }
    steps = [
        ("packages", f"Installing the Python packages of requirements/{kind}.txt", packages),
        ("front end", "Fetching the front-end packages of package-lock.json", front_end),
    ]
    if not only_packages:
        wanted["static files"] = digest_of([REQUIREMENTS / "base.txt"], state_of_static_files())
        steps.append(("static files", "Collecting the static files", static_files))
    missing = [
        step
        for step in steps
        if done.get(step[0]) != wanted[step[0]] or not result_of(step[0]).exists()
    ]
    if not VENV_PYTHON.exists() or "packages" not in done:
        missing = [("virtualenv", f"Making .venv with {MACHINE_PYTHON}", virtualenv), *missing]
    for number, (name, what, act) in enumerate(missing, start=1):
        print(f"[{number}/{len(missing)}] {what} ...", flush=True)
        began = time.monotonic()
        done.pop(name, None)
        if VENV.exists():
            write_record(done)
        act(kind)
        if name in wanted:
            done.update({name: wanted[name], "kind": kind})
            write_record(done)
        print(f"[{number}/{len(missing)}] Done in {time.monotonic() - began:.1f} s.", flush=True)


def result_of(step: str) -> Path:
    return {
        "packages": UV,
        "front end": ROOT / "node_modules",
        "static files": ROOT / "staticfiles",
    }[step]


def virtualenv(kind: str) -> None:
    """Make .venv with the pinned uv in it, by whatever of venv, uv and pip the machine has."""
    uv = shutil.which("uv")
    hashed_uv = ["--require-hashes", "-r", str(REQUIREMENTS / "uv.txt")]
    if importlib.util.find_spec("ensurepip"):
        run(MACHINE_PYTHON, "-m", "venv", "--clear", str(VENV))
        run(str(VENV_PYTHON), "-m", "pip", "install", "--quiet", *hashed_uv)
    elif uv:
        run(uv, "venv", "--quiet", "--clear", "--python", MACHINE_PYTHON, str(VENV))
        run(uv, "pip", "install", "--quiet", "--python", str(VENV_PYTHON), *hashed_uv)
    elif importlib.util.find_spec("pip"):
        run(MACHINE_PYTHON, "-m", "venv", "--clear", "--without-pip", str(VENV))
        pip = [MACHINE_PYTHON, "-m", "pip", "--python", str(VENV_PYTHON)]
        run(*pip, "install", "--quiet", *hashed_uv)
    else:
        raise InstallFailed(
            "This Python cannot make a virtualenv: install what is missing with"
            " apt install python3-venv, and start again."
        )


def packages(kind: str) -> None:
    """Make the virtualenv hold exactly what the file lists (sync takes the rest away)."""
    listed = str(REQUIREMENTS / f"{kind}.txt")
    run(str(UV), "pip", "sync", "--python", str(VENV_PYTHON), "--require-hashes", listed)


def front_end(kind: str) -> None:
    """Fetch with an npm that is thrown away afterwards: it is larger than all that it fetches."""
    with tempfile.TemporaryDirectory(dir=VENV, prefix="npm-") as tools:
        python = str(Path(tools) / "bin" / "python")
        listed = str(REQUIREMENTS / "frontend.txt")
        run(str(UV), "venv", "--quiet", "--clear", "--python", str(VENV_PYTHON), tools)
        run(str(UV), "pip", "sync", "--python", python, "--require-hashes", listed)
        npm = str(Path(tools) / "bin" / "npm")
        path = os.pathsep.join([str(Path(tools) / "bin"), os.environ.get("PATH", os.defpath)])
        extra = {"PATH": path}
        if "SSL_CERT_FILE" in os.environ:  # as uv knows it; node has another name for it
            extra["NODE_EXTRA_CA_CERTS"] = os.environ["SSL_CERT_FILE"]
        run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", **extra)


def static_files(kind: str) -> None:
    with tempfile.TemporaryDirectory() as home:
        collect = ("manage.py", "collectstatic", "--noinput", "--clear", "--verbosity", "0")
        run(str(VENV_PYTHON), *collect, TRAINYARD_HOME=home)


def state_of_static_files() -> str:
    """Tell the state of our own static files apart without reading them."""
    files = sorted(path for path in (ROOT / "static").rglob("*") if path.is_file())
    files += [ROOT / "package-lock.json", ROOT / "config" / "server" / "static.py"]
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return repr(facts)


def digest_of(files: Iterable[Path], and_of: str = "") -> str:
    digest = hashlib.sha256(and_of.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def read_record() -> dict[str, str]:
    try:
        record: dict[str, str] = json.loads(RECORD.read_text())
    except (OSError, ValueError):
        return {}
    return record


def write_record(done: dict[str, str]) -> None:
    RECORD.write_text(json.dumps(done, indent=2) + "\n")


def run(*command: str, **environment: str) -> None:
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)  # noqa: S603


def command_line(command: object) -> str:
    return " ".join(command) if isinstance(command, (list, tuple)) else str(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
