"""Unpack the source that the web process streams, taking regular files and folders only."""

import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO


def unpack(stream: IO[bytes], folder: Path) -> None:
    """Write every file of a tar stream below `folder`; a second call writes them again."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"the source has a path outside its folder: {member.name!r}")
            place = folder.joinpath(*path.parts)
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                raise ValueError(f"the source has something not a plain file: {member.name!r}")
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(place, "wb") as file:
                while chunk := content.read(1 << 20):
                    file.write(chunk)
            os.chmod(place, 0o755 if member.mode & 0o100 else 0o644)
