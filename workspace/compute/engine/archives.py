"""Archives that an engine sends of a container: what is in them is not trusted."""

import io
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import requests

from runner.constants import COPY_BYTES, UNUSABLE_NAME
from runner.found_files import reason_of
from workspace.compute.base import BackendError


def unpack(
    chunks: Iterable[bytes],
    place: Path,
    is_wanted: Callable[[Sequence[str]], bool] = lambda parts: True,
) -> dict[str, str]:
    """Write the regular files of an archive below `place`; links and devices are left out.

    Nothing is written through a link, or elsewhere. `is_wanted` is asked with the parts of each
    path below the archive's own folder. Returns the paths that no file can have here, and why.

    Raises BackendError, retryable, where a file cannot be written.
    """
    unusable: dict[str, str] = {}
    with tarfile.open(fileobj=_Stream(iter(chunks)), mode="r|") as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[1:]
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or not parts or ".." in parts or not is_wanted(parts):
                continue
            try:
                _write(content, place.joinpath(*parts))
            except requests.RequestException:
                raise
            except OSError as error:
                if error.errno in UNUSABLE_NAME:
                    unusable["/".join(parts)] = reason_of(error)
                    continue
                raise BackendError(
                    f"Logs and outputs of {place.name} cannot be stored on this server:"
                    f" {error.strerror}.",
                    retryable=True,
                ) from error
    return unusable


def _write(content: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file:
        shutil.copyfileobj(content, file, COPY_BYTES)


class _Stream(io.RawIOBase):
    """Chunks as a file that is read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._left = chunk
        part, self._left = self._left[:size], self._left[size:]
        return part
