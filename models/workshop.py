"""Where programs of the registry run: an environment of the team's, files put in and taken out."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from models.files import Checked
from models.models import Work
from models.work import BENCH, Failed, Say, folder_of, step
from runs.blobs import CHUNK, store_for
from runs.snapshots import Manifest
from workspace import jobs
from workspace.compute.errand import Errand
from workspace.environments import BUILD_SECONDS, CURATED, EnvironmentSpec, get_or_create
from workspace.errands import run_errand
from workspace.models import ComputeTarget, Environment, EnvironmentState, TargetKind, Team
from workspace.selectors import local_use_problem, targets_for

PROGRAMS = Path(__file__).with_name("programs")
LOOK_SECONDS = 1.0
LARGEST_RESULT = 2**20
LAST_LINES = 3


@dataclass(frozen=True)
class Bench:
    """The folders of an errand: what its program reads, and what it wrote."""

    source: Path
    target: Path

    def put(self, team: Team, manifest: Manifest, folder: str = "") -> None:
        """Copy files of a team's store, each held against its digest."""
        store = Checked(store_for(team).root)
        for entry in manifest.entries:
            place = self.source / folder / entry.path
            place.parent.mkdir(parents=True, exist_ok=True)
            with store.open(entry.digest) as source, place.open("xb") as copy:
                shutil.copyfileobj(source, copy, CHUNK)


@contextmanager
def bench_for(work: Work) -> Iterator[Bench]:
    """Give folders for an errand, which are gone afterwards."""
    home = folder_of(work)
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=BENCH, dir=home) as folder:
        bench = Bench(Path(folder) / "input", Path(folder) / "output")
        bench.source.mkdir()
        bench.target.mkdir()
        yield bench


def release_for(version: str) -> str:
    """Give the curated TensorFlow that reads what a version wrote: its own, or a newer one."""
    try:
        wanted = Version(version or "0").release[:2]
    except InvalidVersion:
        wanted = (0, 0)
    known = sorted(CURATED, key=lambda release: Version(release).release)
    if not version:
        return known[-1]
    return next((name for name in known if Version(name).release[:2] >= wanted), known[-1])


def run_program(
    work: Work,
    team: Team,
    spec: EnvironmentSpec,
    name: str,
    bench: Bench,
    job: Mapping[str, Any],
    say: Say,
) -> dict[str, Any]:
    """Run one of our programs on a bench; give its result. Raises Failed with its words."""
    environment = _environment(work, team, spec)
    (bench.source / "job.json").write_text(json.dumps(job))
    step(work, "Converting")
    errand = Errand(folder_of(work).name, PROGRAMS / name, bench.source, bench.target)
    code = run_errand(environment, errand, say)
    result = _result_in(bench.target / "result.json")
    if code or result is None:
        raise Failed(f"The converter ended with code {code} and left no result. Its log says why.")
    if "error" in result:
        raise Failed(str(result["error"])[:4000])
    return result


def _result_in(path: Path) -> dict[str, Any] | None:
    """Read what a program left, which code of strangers may have written."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_RESULT:
        return None
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _environment(work: Work, team: Team, spec: EnvironmentSpec) -> Environment:
    """Give the environment of a specification, built here unless another worker builds it."""
    environment = get_or_create(_target(team), spec)
    deadline = time.monotonic() + BUILD_SECONDS
    while environment.state != EnvironmentState.READY:
        if environment.state == EnvironmentState.FAILED:
            lines = environment.error.strip().splitlines()[-LAST_LINES:]
            raise Failed(f"The environment for it could not be built: {' '.join(lines)}")
        if time.monotonic() > deadline:
            raise Failed("The environment for it is not built yet. Try again later.")
        step(work, f"Building an environment with TensorFlow {spec.framework_version}")
        jobs.build_environment(environment.pk)
        environment.refresh_from_db()
        if environment.state in (EnvironmentState.PENDING, EnvironmentState.BUILDING):
            if environment.error:
                raise Failed(f"The environment for it cannot be built now: {environment.error}")
            time.sleep(LOOK_SECONDS)
    return environment


def _target(team: Team) -> ComputeTarget:
    """Give a target of the team's: this machine where that is allowed, or else an engine."""
    targets = targets_for(team).filter(is_paused=False, is_draining=False, unreachable_since=None)
    usable = [target for target in targets if not local_use_problem(target)]
    usable.sort(key=lambda target: target.kind != TargetKind.LOCAL)
    if not usable:
        raise Failed(
            f"{team.name} has no compute target that this could be done on now. Ask an admin to"
            " add one, or to allow the one that is there."
        )
    return usable[0]
