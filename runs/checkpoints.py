"""What a run's processes keep across its attempts, on targets whose machines share no disk."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import transaction

from runs.downloads import tar_of_files
from runs.files import Announced, Fenced, StoredFile, checked, files_below, run_folder
from runs.launch import CHECKPOINTS_IN_CONTAINERS
from runs.models import Process, ProcessGroup
from runs.source_paths import shown
from workspace.errors import Invalid, TooLarge
from workspace.models import TargetKind

CHECKPOINTS = "checkpoints"


def told_of(process: Process) -> dict[str, object] | None:
    """Say what a runner is to keep in step with us: its folder, and whether its word counts most.

    None where the target keeps the folder itself.
    """
    group = process.group
    target = group.target
    if group.run_id is None or target.kind != TargetKind.SWARM or target.shared_folder:
        return None
    first = group.processes.order_by("pk").values_list("pk", flat=True).first()
    return {"folder": CHECKPOINTS_IN_CONTAINERS, "decides": process.pk == first}


def tar_for(process: Process) -> Iterator[bytes]:
    """Give everything that earlier attempts kept."""
    folder = _folder_of(process)
    return tar_of_files(
        StoredFile(
            f"{CHECKPOINTS}/{path}",
            "",
            status.st_size,
            "",
            datetime.fromtimestamp(status.st_mtime, UTC),
            location,
        )
        for path, location, status in files_below(folder / CHECKPOINTS)
    )


def store(process: Process, file: Announced, content: Path) -> None:
    """Keep a file whose bytes lie in `content`; what was there under its path goes."""
    place = _folder_of(process) / checked(file.path, CHECKPOINTS)
    with transaction.atomic():
        _fence(process)
        _check_room(_folder_of(process) / CHECKPOINTS, file.size)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            content.replace(place)
        except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
            raise Invalid(f"{shown(file.path)} is a folder and a file.") from error


def remove(process: Process, paths: list[str]) -> None:
    """Forget files that a process has removed."""
    folder = _folder_of(process)
    places = [folder / checked(path, CHECKPOINTS) for path in paths]
    with transaction.atomic():
        _fence(process)
        for place in places:
            if not place.is_dir():
                place.unlink(missing_ok=True)


def _folder_of(process: Process) -> Path:
    if process.group.run_id is None:
        raise Invalid("Only processes of a run have checkpoints.")
    return run_folder(process.group.run_id)


def _fence(process: Process) -> None:
    """Hold off others of the process's attempt; raise Fenced when that is over."""
    if ProcessGroup.objects.select_for_update().get(pk=process.group_id).is_fenced:
        raise Fenced


def _check_room(folder: Path, more: int) -> None:
    held = sum(status.st_size for _, _, status in files_below(folder))
    most = settings.TRAINYARD_RUN_MAX_BYTES
    if held + more > most:
        raise TooLarge(
            f"The checkpoints of a run may have {most / 1000**3:g} GB in all"
            " (TRAINYARD_RUN_MAX_BYTES); keep fewer of them."
        )
