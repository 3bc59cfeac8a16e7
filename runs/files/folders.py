"""Where the files of runs and of services' replicas lie on this server."""

import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from runs.logs.log_file import folder_of


def run_folder(run_id: int) -> Path:
    folder: Path = settings.TRAINYARD_HOME / "runs" / str(run_id)
    return folder


def attempt_label(run_id: int, number: int) -> str:
    """Name the group of an attempt, the first being number 1."""
    return f"run-{run_id}-{number}"


def logs_folder(label: str, process: str) -> Path:
    return folder_of(label) / "files" / process


def files_below(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path, os.stat_result]]:
    """Return every regular file below a folder with its relative path, sorted."""
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
