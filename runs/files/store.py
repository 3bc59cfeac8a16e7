"""The files that a run's processes leave: outputs/ of the run, logs/ of each process."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from runs.files.folders import files_below, logs_folder, run_folder
from runs.files.quota import QuotaOwner, measure_again, quota_owner, reserve, reserved
from runs.logs.log_file import LogFile
from runs.logs.masking import LogMask
from runs.logs.text import unfinished_character
from runs.models import Process, ProcessGroup, Run, RunFile
from runs.selectors import latest_attempt
from runs.source.durable import move_durably
from runs.source.paths import problem_of, shown
from workspace.platform.errors import Invalid, NotFound

OUTPUTS = "outputs"
LOGS = "logs"
PREVIEW_BYTES = 256 * 1024


class AttemptFenced(Exception):
    """The process belongs to an attempt that may write no more."""


@dataclass(frozen=True)
class DeclaredFile:
    """An output as a runner describes it before it sends it."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class RefusedFile:
    """A file of a list that is not kept, and why; the others of the list are."""

    path: str
    reason: str


@dataclass(frozen=True)
class RunFileOnDisk:
    path: str
    process: str
    size: int
    digest: str
    at: datetime
    location: Path


@dataclass(frozen=True)
class FilePreview:
    """A file as a page shows it; `text` is None for what is not text."""

    path: str
    size: int
    text: str | None
    is_cut: bool


def path_problem(path: str, root: str) -> str:
    """Return why a path cannot be one of a file below `root`, or nothing when it can."""
    problem = problem_of(path)
    if not problem and not path.startswith(f"{root}/"):
        problem = f"it is not below {root}/"
    return problem


def checked(path: str, root: str) -> str:
    """Return a path that is safe below `root`, or raise Invalid."""
    if problem := path_problem(path, root):
        raise Invalid(f"The path {shown(path)} can't be used: {problem}.")
    return path


def append_log_file(
    owner: QuotaOwner,
    process: str,
    path: str,
    offset: int,
    data: bytes,
    mask: LogMask | None = None,
    *,
    restarts: bool = False,
    is_final: bool = False,
) -> int:
    """Append to a file under logs/ as to a log; one that `restarts` begins anew. Give its size."""
    file = LogFile(logs_folder(owner.label, process) / checked(path, LOGS), keeps_index=False)
    try:
        if restarts and offset == 0 and file.path.exists():
            reserve(owner, -file.size(), files=-1)
            file.path.unlink(missing_ok=True)
        with reserved(owner, file.growth(offset, data), files=0 if file.path.exists() else 1):
            return file.append(offset, data, mask, is_final=is_final)
    except (NotADirectoryError, IsADirectoryError) as error:
        raise Invalid(f"{shown(path)} is a folder and a file.") from error


def missing_outputs(process: Process, files: list[DeclaredFile]) -> list[str]:
    """Return the paths whose bytes have to be sent: those not held, and not held by a senior."""
    run = _run_of(process)
    held = _held(run)
    return [
        file.path
        for file in files
        if not _has(held.get(file.path), file)
        and not _is_from_earlier_process(held.get(file.path), process)
    ]


def store_output(process: Process, output: DeclaredFile, content: Path) -> bool:
    """Store an output whose bytes, of the declared size and digest, are in `content`.

    Of two processes that write one path the one that decides the run wins; returns whether it is
    stored. Raises AttemptFenced for a process of an attempt that is over.
    """
    run = _run_of(process)
    place = run_folder(run.pk) / checked(output.path, OUTPUTS)
    held = RunFile.objects.filter(run=run, path=output.path).select_related("process")
    before = held.first()
    if _is_from_earlier_process(before, process):
        return False
    owner, more = quota_owner(process.group), output.size - (before.size_bytes if before else 0)
    with reserved(owner, more, files=0 if before else 1), transaction.atomic():
        lock_attempt(process)
        if _is_from_earlier_process(held.first(), process):
            measure_again(owner)
            return False
        put_file(content, place, output.path)
        RunFile.objects.update_or_create(
            run=run,
            path=output.path,
            defaults={
                "process": process,
                "size_bytes": output.size,
                "digest": output.digest,
                "stored_at": timezone.now(),
            },
        )
    return True


def remove_outputs(process: Process, paths: Sequence[str]) -> None:
    """Drop outputs that a process has removed, of those that it sent in this attempt or before."""
    run = _run_of(process)
    wanted = [path for path in paths if not path_problem(path, OUTPUTS)]
    with transaction.atomic():
        owner = quota_owner(lock_attempt(process))
        held = RunFile.objects.filter(
            run=run, path__in=wanted, process__role=process.role, process__index=process.index
        )
        for path in held.values_list("path", flat=True):
            unlink_output(run.pk, path)
        held.delete()
    measure_again(owner)


def unlink_output(run_id: int, path: str) -> None:
    """Remove an output, and the folders above it that are empty then."""
    top = run_folder(run_id) / OUTPUTS
    place = run_folder(run_id) / path
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        place.unlink()
    for parent in place.parents:
        if parent == top:
            return
        try:
            parent.rmdir()
        except OSError:
            return


def lock_attempt(process: Process) -> ProcessGroup:
    """Lock the group of a process. Raises AttemptFenced when its attempt is over."""
    group = (
        ProcessGroup.objects.select_related("target")
        .select_for_update(of=("self",))
        .get(pk=process.group_id)
    )
    if group.is_fenced:
        raise AttemptFenced
    return group


def put_file(content: Path, place: Path, path: str) -> None:
    """Move a file to its place. Raises Invalid, with its `path`, where a folder is in the way."""
    try:
        move_durably(content, place)
    except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise Invalid(f"{shown(path)} is a folder and a file.") from error


def outputs_of(run: Run) -> list[RunFileOnDisk]:
    folder = run_folder(run.pk)
    return [
        RunFileOnDisk(
            path=file.path,
            process=file.process.name if file.process else "",
            size=file.size_bytes,
            digest=file.digest,
            at=file.stored_at,
            location=folder / file.path,
        )
        for file in RunFile.objects.filter(run=run).select_related("process").order_by("path")
    ]


def has_model(run: Run) -> bool:
    """Return whether there is a SavedModel among the outputs."""
    return RunFile.objects.filter(run=run, path__endswith="/saved_model.pb").exists()


def log_files_of(run: Run) -> list[RunFileOnDisk]:
    """Return the files under logs/ of every process of the latest attempt: logs/<process>/..."""
    group = latest_attempt(run)
    if group is None:
        return []
    return [
        RunFileOnDisk(
            path=f"{LOGS}/{process.name}/{path}",
            process=process.name,
            size=stat.st_size,
            digest="",
            at=datetime.fromtimestamp(stat.st_mtime, UTC),
            location=location,
        )
        for process in group.processes.all()
        for path, location, stat in files_below(logs_folder(group.label, process.name) / LOGS)
    ]


def files_of(run: Run) -> list[RunFileOnDisk]:
    return [*log_files_of(run), *outputs_of(run)]


def file_of(run: Run, path: str) -> RunFileOnDisk:
    """Return one file of a run; only what is listed can be reached."""
    kind = log_files_of if path.startswith(f"{LOGS}/") else outputs_of
    found = next((file for file in kind(run) if file.path == path), None)
    if found is None or not found.location.is_file():
        raise NotFound(f"Run {run.number} has no file {shown(path)}.")
    return found


def preview_of(file: RunFileOnDisk) -> FilePreview:
    """Return the text of a file, or the beginning of a long one."""
    with file.location.open("rb") as stored:
        start = stored.read(PREVIEW_BYTES)
    is_cut = file.size > len(start)
    if is_cut:
        start = start[: len(start) - unfinished_character(start)]
    try:
        text = None if b"\0" in start else start.decode()
    except UnicodeDecodeError:
        text = None
    return FilePreview(file.path, file.size, text, is_cut)


def _run_of(process: Process) -> Run:
    run = process.group.run
    if run is None:
        raise Invalid("Only processes of a run have outputs.")
    return run


def _held(run: Run) -> Mapping[str, RunFile]:
    files = RunFile.objects.filter(run=run).select_related("process")
    return {file.path: file for file in files}


def _has(held: RunFile | None, announced: DeclaredFile) -> bool:
    return held is not None and (held.digest, held.size_bytes) == (
        announced.digest,
        announced.size,
    )


def _is_from_earlier_process(held: RunFile | None, process: Process) -> bool:
    """Return whether a file is held from a process of the group that comes before this one.

    A group's processes are written in the order of their say, the deciding one first.
    """
    return (
        held is not None
        and held.process is not None
        and held.process.group_id == process.group_id
        and held.process.pk < process.pk
    )
