"""Checkpoints of runs, across their attempts, on targets whose machines share no disk."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from django.db import transaction

from runs.files.archives import tar_of_files
from runs.files.folders import files_below, run_folder
from runs.files.quota import measure_again, quota_owner, reserved
from runs.files.store import (
    DeclaredFile,
    RunFileOnDisk,
    checked,
    lock_attempt,
    path_problem,
    put_file,
)
from runs.launch.plan import checkpoints_of
from runs.models import Process
from workspace.platform.errors import Invalid
from workspace.targets.backends import backend_for

CHECKPOINTS = "checkpoints"


def checkpoint_spec(process: Process) -> dict[str, object] | None:
    """Return the folder that a runner synchronizes, and whether it is authoritative.

    None where the target itself keeps the folder.
    """
    group = process.group
    if group.run is None:
        return None
    backend = backend_for(group.target)
    if backend.keeps_checkpoints():
        return None
    folder = backend.checkpoint_folder(checkpoints_of(group.run))
    first = group.processes.order_by("pk").values_list("pk", flat=True).first()
    return {"folder": folder, "decides": process.pk == first}


def tar_for(process: Process) -> Iterator[bytes]:
    """Return the checkpoints of earlier attempts as a tar stream."""
    folder = _folder_of(process)
    return tar_of_files(
        RunFileOnDisk(
            f"{CHECKPOINTS}/{path}",
            "",
            status.st_size,
            "",
            datetime.fromtimestamp(status.st_mtime, UTC),
            location,
        )
        for path, location, status in files_below(folder / CHECKPOINTS)
    )


def store(process: Process, file: DeclaredFile, content: Path) -> None:
    """Store a file whose bytes are in `content`, in place of one of the same path."""
    place = _folder_of(process) / checked(file.path, CHECKPOINTS)
    owner, held = quota_owner(process.group), _size_of(place)
    more = file.size - (held or 0)
    with reserved(owner, more, files=int(held is None)), transaction.atomic():
        lock_attempt(process)
        put_file(content, place, file.path)


def remove(process: Process, paths: list[str]) -> None:
    """Remove the files that a process has removed, those of them that are here."""
    folder = _folder_of(process)
    places = [folder / path for path in paths if not path_problem(path, CHECKPOINTS)]
    with transaction.atomic():
        owner = quota_owner(lock_attempt(process))
        for place in places:
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                place.unlink()
    measure_again(owner)


def _size_of(place: Path) -> int | None:
    try:
        return place.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _folder_of(process: Process) -> Path:
    if process.group.run_id is None:
        raise Invalid("Only processes of a run have checkpoints.")
    return run_folder(process.group.run_id)
