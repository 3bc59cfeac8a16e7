"""Writes that outlast a power cut: what is acknowledged is on the disk before.

A single file is moved to its place with `move_durably`. Of many files only the last step costs the
wait: `sync_filesystem`, once they are all in their places.
"""

import ctypes
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


def move_durably(written: Path, place: Path) -> None:
    """Move a file to its place, so that after a power cut it is there whole or not at all."""
    _sync(written)
    made = [folder for folder in place.parents if not folder.exists()]
    place.parent.mkdir(parents=True, exist_ok=True)
    written.replace(place)
    for folder in (place.parent, *(folder.parent for folder in made)):
        _sync(folder)


def sync_filesystem(folder: Path) -> None:
    """Return when all that was written to the file system of a folder is on its disk."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(number) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(folder))
    finally:
        os.close(number)


def _sync(place: Path) -> None:
    number = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
