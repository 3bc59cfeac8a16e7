"""Environments in which the registry converts models, built once and kept for later test runs."""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from uv import find_uv_bin

from models.imports.onnx_conversion import CONVERTERS
from tests.modelserver.environment import locked, test_cache
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.environments.services import get_or_create
from workspace.models import ComputeTarget, Environment, EnvironmentState


def converter_python(release: str) -> Path:
    """Return the folder of a virtualenv that has all that conversions with a release need."""
    spec = EnvironmentSpec.of(release, packages=CONVERTERS[release])
    digest = hashlib.sha256("\n".join([*spec.requirements, *spec.overrides]).encode()).hexdigest()
    folder = test_cache() / f"converters-{release}-{digest[:12]}"
    with locked(test_cache() / f"converters-{release}.lock"):
        if not folder.exists():
            _build(folder, spec)
    return folder


def _build(folder: Path, spec: EnvironmentSpec) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        venv = Path(made) / "venv"
        overrides = Path(made) / "overrides.txt"
        overrides.write_text("\n".join(spec.overrides))
        python = ["--python", str(venv / "bin" / "python")]
        _run("venv", "--quiet", "--relocatable", "--python", "3.11", str(venv))
        lines = [*spec.requirements, "--overrides", str(overrides)]
        _run("pip", "install", "--quiet", *python, *lines)
        venv.rename(folder)


def _run(*command: str) -> None:
    done = subprocess.run([find_uv_bin(), *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(command)} failed:\n{done.stderr[-4000:]}")


def built_keras_files(environment: Path) -> Path:
    """Return the folder with what build_keras.py writes in an environment, written once."""
    script = Path(__file__).with_name("build_keras.py")
    digest = hashlib.sha256(script.read_bytes() + os.fsencode(environment)).hexdigest()[:16]
    folder = test_cache() / f"keras-files-{digest}"
    with locked(test_cache() / "keras-files.lock"):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            subprocess.run(
                [str(environment / "bin" / "python"), str(script), str(unfinished)],
                check=True,
                capture_output=True,
            )
            unfinished.rename(folder)
    return folder


def lend(target: ComputeTarget, spec: EnvironmentSpec, folder: Path, home: Path) -> Environment:
    """Have a virtualenv that is there stand for an environment of a target."""
    environment = get_or_create(target, spec, target.team)
    environment.reference = f"environments/{environment.digest}"
    place = home / environment.reference
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(folder)
    environment.state = EnvironmentState.READY
    environment.save()
    return environment
