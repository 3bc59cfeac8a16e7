"""Where the registry's converters run: in an environment of the team, on a job directory."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.files import VerifyingBlobStore
from models.imports.execution import DIRECTORY_PREFIX, job_home, set_step
from models.models import BackgroundJob
from runs.source.blobs import CHUNK, store_for
from runs.source.snapshots import Manifest
from workspace.compute.abilities import RunsSandboxedJobs
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.sandboxed_job import SandboxedJob
from workspace.environments import jobs
from workspace.environments.sandboxed_jobs import run_sandboxed_job
from workspace.environments.services import BUILD_SECONDS, get_or_create
from workspace.models import ComputeTarget, Environment, EnvironmentState, Team
from workspace.platform.background_jobs import JobFailed, LogWriter
from workspace.targets.backends import backend_for
from workspace.targets.selectors import local_use_problem, targets_for

PROGRAMS = Path(__file__).with_name("programs")
POLL_SECONDS = 1.0
MAX_RESULT_BYTES = 2**20
LAST_LINES = 3


@dataclass(frozen=True)
class JobDirectory:
    """The folders of a sandboxed job: what its program reads, and what it writes."""

    source: Path
    target: Path

    def put(self, team: Team, manifest: Manifest, folder: str = "") -> None:
        """Copy files of a team's store, each checked against its digest."""
        store = VerifyingBlobStore(store_for(team).root)
        for entry in manifest.entries:
            place = self.source / folder / entry.path
            place.parent.mkdir(parents=True, exist_ok=True)
            with store.open(entry.digest) as source, place.open("xb") as copy:
                shutil.copyfileobj(source, copy, CHUNK)


@contextmanager
def job_directory(work: BackgroundJob) -> Iterator[JobDirectory]:
    """Yield the folders of a sandboxed job, which are removed afterwards."""
    home = job_home(work)
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=DIRECTORY_PREFIX, dir=home) as folder:
        directory = JobDirectory(Path(folder) / "input", Path(folder) / "output")
        directory.source.mkdir()
        directory.target.mkdir()
        yield directory


def run_converter(
    work: BackgroundJob,
    team: Team,
    spec: EnvironmentSpec,
    name: str,
    directory: JobDirectory,
    job: Mapping[str, Any],
    write_log: LogWriter,
) -> dict[str, Any]:
    """Run a converter in a sandbox and return its result. Raises JobFailed with its error."""
    environment = _environment(work, team, spec)
    (directory.source / "job.json").write_text(json.dumps(job))
    set_step(work, "Converting")
    sandboxed = SandboxedJob(
        job_home(work).name, PROGRAMS / name, directory.source, directory.target
    )
    code = run_sandboxed_job(environment, sandboxed, write_log)
    result = _result_in(directory.target / "result.json")
    if code or result is None:
        raise JobFailed(
            f"The converter ended with code {code} and left no result. Its log says why."
        )
    if "error" in result:
        raise JobFailed(str(result["error"])[:4000])
    return result


def _result_in(path: Path) -> dict[str, Any] | None:
    """Read the result of a program, which code of a model may have written."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_RESULT_BYTES:
        return None
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _environment(work: BackgroundJob, team: Team, spec: EnvironmentSpec) -> Environment:
    """Return the environment of a specification, built here unless another worker builds it."""
    environment = get_or_create(_target(team), spec, team)
    deadline = time.monotonic() + BUILD_SECONDS
    while environment.state != EnvironmentState.READY:
        if environment.state == EnvironmentState.FAILED:
            lines = environment.error.strip().splitlines()[-LAST_LINES:]
            raise JobFailed(f"The environment for it could not be built: {' '.join(lines)}")
        if time.monotonic() > deadline:
            raise JobFailed("The environment is not ready yet. Try again later.")
        set_step(work, f"Building an environment with TensorFlow {spec.framework_version}")
        jobs.build_environment(environment.pk)
        environment.refresh_from_db()
        if environment.state in (EnvironmentState.PENDING, EnvironmentState.BUILDING):
            if environment.error:
                raise JobFailed(f"The environment for it cannot be built now: {environment.error}")
            time.sleep(POLL_SECONDS)
    return environment


def _target(team: Team) -> ComputeTarget:
    """Return a target of the team's: this machine where that is allowed, or else an engine."""
    targets = targets_for(team).filter(is_paused=False, is_draining=False, unreachable_since=None)
    usable = [target for target in targets if not local_use_problem(target)]
    usable = [target for target in usable if isinstance(backend_for(target), RunsSandboxedJobs)]
    usable.sort(key=lambda target: not target.kind_info.is_this_machine)
    if not usable:
        raise JobFailed(
            f"No compute target of {team.name} is available for conversions. Ask an admin to add"
            " one, or to allow the one that is there."
        )
    return usable[0]
