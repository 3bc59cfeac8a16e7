"""The files that a run's processes leave: outputs/ of the run, logs/ of each process."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Sum
from django.utils import timezone

from runs.logs import LogFile, folder_of
from runs.logs_text import unfinished_character
from runs.models import Process, ProcessGroup, Run, RunFile
from runs.selectors import latest_attempt
from runs.source_paths import problem_of, shown
from workspace.errors import Invalid, NotFound, TooLarge

OUTPUTS = "outputs"
LOGS = "logs"
MAX_FILES = 20_000
LOOK_AT_SIZE_EVERY = 16 * 1024 * 1024
PREVIEW_BYTES = 256 * 1024


class Fenced(Exception):
    """The process belongs to an attempt that may write no more."""


@dataclass(frozen=True)
class Announced:
    """An output as a runner describes it before it sends it."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class StoredFile:
    path: str
    process: str
    size: int
    digest: str
    at: datetime
    location: Path


@dataclass(frozen=True)
class Preview:
    """A file as a page shows it; `text` is None for what is not text."""

    path: str
    size: int
    text: str | None
    is_cut: bool


def checked(path: str, root: str) -> str:
    """Give a path that is safe below `root`, or raise Invalid."""
    problem = problem_of(path)
    if not problem and not path.startswith(f"{root}/"):
        problem = f"it is not below {root}/"
    if problem:
        raise Invalid(f"The path {shown(path)} can't be used: {problem}.")
    return path


def run_folder(run_id: int) -> Path:
    folder: Path = settings.TRAINYARD_HOME / "runs" / str(run_id)
    return folder


def logs_folder(label: str, process: str) -> Path:
    return folder_of(label) / "files" / process


def append_log_file(
    label: str, process: str, path: str, offset: int, data: bytes, *, restarts: bool = False
) -> int:
    """Append to a file under logs/ as to a log; one that `restarts` begins anew. Give its size."""
    place = logs_folder(label, process) / checked(path, LOGS)
    if offset // LOOK_AT_SIZE_EVERY != (offset + len(data)) // LOOK_AT_SIZE_EVERY:
        _check_room(ProcessGroup.objects.get(label=label), len(data))
    try:
        if restarts and offset == 0:
            place.unlink(missing_ok=True)
        return LogFile(place, keeps_index=False).append(offset, data)
    except (NotADirectoryError, IsADirectoryError) as error:
        raise Invalid(f"{shown(path)} is a folder and a file.") from error


def missing_outputs(process: Process, files: list[Announced]) -> list[str]:
    """Give the paths whose bytes have to be sent: those not held, and not held by a senior."""
    for file in files:
        checked(file.path, OUTPUTS)
    run = _run_of(process)
    held = _held(run)
    return [
        file.path
        for file in files
        if not _has(held.get(file.path), file) and not _is_senior(held.get(file.path), process)
    ]


def store_output(process: Process, output: Announced, content: Path) -> bool:
    """Keep an output whose bytes, of the announced size and digest, lie in `content`.

    Of two processes that write one path the one that decides the run wins; tells whether it was
    kept. Raises Fenced for a process of an attempt that is over.
    """
    run = _run_of(process)
    place = run_folder(run.pk) / checked(output.path, OUTPUTS)
    with transaction.atomic():
        group = ProcessGroup.objects.select_for_update().get(pk=process.group_id)
        if group.is_fenced:
            raise Fenced
        held = RunFile.objects.filter(run=run, path=output.path).select_related("process").first()
        if _is_senior(held, process):
            return False
        _check_room(group, output.size - (held.size_bytes if held else 0))
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            content.replace(place)
        except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
            raise Invalid(f"{shown(output.path)} is a folder and a file.") from error
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


def outputs_of(run: Run) -> list[StoredFile]:
    folder = run_folder(run.pk)
    return [
        StoredFile(
            path=file.path,
            process=file.process.name,
            size=file.size_bytes,
            digest=file.digest,
            at=file.stored_at,
            location=folder / file.path,
        )
        for file in RunFile.objects.filter(run=run).select_related("process").order_by("path")
    ]


def has_model(run: Run) -> bool:
    """Tell whether there is a SavedModel among the outputs."""
    return RunFile.objects.filter(run=run, path__endswith="/saved_model.pb").exists()


def log_files_of(run: Run) -> list[StoredFile]:
    """Give the files under logs/ of every process of the latest attempt: logs/<process>/..."""
    group = latest_attempt(run)
    if group is None:
        return []
    return [
        StoredFile(
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


def files_of(run: Run) -> list[StoredFile]:
    return [*log_files_of(run), *outputs_of(run)]


def files_below(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path, os.stat_result]]:
    """Give every regular file below a folder with its relative path, sorted."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        path = f"{prefix}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(Path(entry.path), f"{path}/")
        elif entry.is_file(follow_symlinks=False):
            yield path, Path(entry.path), entry.stat(follow_symlinks=False)


def file_of(run: Run, path: str) -> StoredFile:
    """Give one file of a run; only what is listed can be reached."""
    kind = log_files_of if path.startswith(f"{LOGS}/") else outputs_of
    found = next((file for file in kind(run) if file.path == path), None)
    if found is None or not found.location.is_file():
        raise NotFound(f"Run {run.number} has no file {shown(path)}.")
    return found


def preview_of(file: StoredFile) -> Preview:
    """Give the text of a file, or the beginning of a long one."""
    with file.location.open("rb") as stored:
        start = stored.read(PREVIEW_BYTES)
    is_cut = file.size > len(start)
    if is_cut:
        start = start[: len(start) - unfinished_character(start)]
    try:
        text = None if b"\0" in start else start.decode()
    except UnicodeDecodeError:
        text = None
    return Preview(file.path, file.size, text, is_cut)


def _run_of(process: Process) -> Run:
    run = process.group.run
    if run is None:
        raise Invalid("Only processes of a run have outputs.")
    return run


def _held(run: Run) -> Mapping[str, RunFile]:
    files = RunFile.objects.filter(run=run).select_related("process")
    return {file.path: file for file in files}


def _has(held: RunFile | None, announced: Announced) -> bool:
    return held is not None and (held.digest, held.size_bytes) == (
        announced.digest,
        announced.size,
    )


def _is_senior(held: RunFile | None, process: Process) -> bool:
    """Say whether a file is held from a process of the group that comes before this one.

    A group's processes are written in the order of their say, the deciding one first.
    """
    return (
        held is not None
        and held.process.group_id == process.group_id
        and held.process_id < process.pk
    )


def _check_room(group: ProcessGroup, more: int) -> None:
    held = RunFile.objects.filter(run=group.run).aggregate(size=Sum("size_bytes"), n=Count("pk"))
    in_logs = sum(stat.st_size for _, _, stat in files_below(folder_of(group.label) / "files"))
    most = settings.TRAINYARD_RUN_MAX_BYTES
    if (held["size"] or 0) + in_logs + more > most:
        raise TooLarge(
            f"The files of a run may have {most / 1000**3:g} GB in all (TRAINYARD_RUN_MAX_BYTES);"
            " what was stored so far is kept, this is not."
        )
    if held["n"] >= MAX_FILES:
        raise TooLarge(f"A run may leave {MAX_FILES:,} files; no more are stored.")
