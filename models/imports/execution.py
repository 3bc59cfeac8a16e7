"""The jobs of the registry: how workers run them, and what is left of those that died."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from models.models import BackgroundJob, JobState, ModelImport, ModelVersion, OnnxConversion
from workspace.compute.base import BackendError
from workspace.compute.sandboxed_job import JobTimedOut
from workspace.platform.background_jobs import (
    HEARTBEAT_TIMEOUT,
    SUPERSEDED,
    JobKind,
    JobPostponed,
)
from workspace.platform.broker import JobQueue
from workspace.platform.clock import age_of

JOB_SECONDS = 3 * 3600
DIRECTORY_PREFIX = "tmp"  # of directories that are removed when their job ends
ENQUEUED_AT_ONCE = 100
LOG_SHOWN_BYTES = 64 * 1024
ABANDONED = "The worker stopped before the job finished. Try again."
JobT = TypeVar("JobT", bound=BackgroundJob)


def job_home(job: BackgroundJob) -> Path:
    """Return the folder of a job's log, and of its files while it runs."""
    name = f"{type(job).__name__.lower()}-{job.pk}"
    return _home() / name


def _log_path(job: BackgroundJob) -> Path:
    return job_home(job) / "log"


def _home() -> Path:
    return Path(settings.TRAINYARD_HOME) / "work"


def job_log(job: BackgroundJob) -> str:
    """Return the end of a job's log."""
    try:
        with _log_path(job).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_SHOWN_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _kind_of(model: type[JobT], function: str) -> JobKind[JobT]:
    return JobKind(
        model=model,
        queue=JobQueue.CONVERSIONS,
        function=function,
        timeout_seconds=JOB_SECONDS,
        waiting=JobState.WAITING,
        running=JobState.RUNNING,
        done=JobState.DONE,
        failed=JobState.FAILED,
        log_path=_log_path,
        expected_errors=(BackendError, JobTimedOut),
        on_end={"step": ""},
    )


CONVERSION = _kind_of(OnnxConversion, "models.imports.jobs.convert_to_onnx")
IMPORT = _kind_of(ModelImport, "models.imports.jobs.import_keras_file")
KINDS: tuple[JobKind[Any], ...] = (CONVERSION, IMPORT)


def enqueue(job: BackgroundJob) -> None:
    """Ask a worker to do it, after commit; asking often does it once."""
    transaction.on_commit(partial(kind_of(job).enqueue, job.pk))


def recover_abandoned() -> None:
    """End the jobs of workers that are gone, and enqueue again what has waited longest."""
    for kind in KINDS:
        for job in kind.abandoned():
            left = _directories_in(job_home(job))
            if kind.take_from(job, **_end_of(job), ended_at=timezone.now(), **kind.on_end):
                _remove(left)
        waiting = kind.rows(kind.waiting).order_by("pk").values_list("pk", "created_at")
        for pk, created_at in waiting[:ENQUEUED_AT_ONCE]:
            if age_of(created_at) >= HEARTBEAT_TIMEOUT:
                kind.enqueue(pk)


def _end_of(job: BackgroundJob) -> dict[str, str]:
    """Return how a job ends whose worker is gone: an import that made its version is done."""
    if isinstance(job, ModelImport) and job.version_id is not None:
        return {"state": JobState.DONE}
    return {"state": JobState.FAILED, "error": ABANDONED}


def remove_leftover_directories() -> None:
    """Remove the directories of jobs that ended with their worker."""
    left = {home: _directories_in(home) for home in _home().glob("*-*")}
    running = {job_home(job) for kind in KINDS for job in kind.rows(kind.running)}
    for home, directories in left.items():
        if home not in running:
            _remove(directories)


def _directories_in(folder: Path) -> list[Path]:
    return [*folder.glob(f"{DIRECTORY_PREFIX}*")]


def _remove(directories: list[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def set_step(job: BackgroundJob, step: str) -> None:
    """Store what a job is doing now. Raises JobPostponed for an attempt that is taken for dead."""
    kind = kind_of(job)
    kind.check_current(job)
    kind.current(job).update(step=step)


def set_version(import_: ModelImport, version: ModelVersion) -> None:
    """Store what an import made. Raises JobPostponed for an attempt that is taken for dead."""
    if not kind_of(import_).current(import_).update(version=version):
        raise JobPostponed(SUPERSEDED)


def kind_of(job: BackgroundJob) -> JobKind[Any]:
    return next(kind for kind in KINDS if isinstance(job, kind.model))
