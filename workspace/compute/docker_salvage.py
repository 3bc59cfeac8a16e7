"""Ship what runners left in containers that ended before all was sent."""

import io
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

import requests
from docker.errors import NotFound

from runs.runner.folder import Folder, mark, read_json, write_json
from workspace.compute import containers, local_runners
from workspace.compute.base import BackendError
from workspace.compute.docker_client import Engine

FETCHED = "fetched"
KILLED = 137
WORK, SHIPPED = "work", (("outputs",), ("logs",))
COPY_BYTES = 1 << 20
AT_ONCE = 2


class Salvage:
    """Fetches folders of dead runners, and has a runner of this machine ship what they hold."""

    # Of all backends in this process. What a process that died was fetching is fetched anew.
    _threads: ClassVar[ThreadPoolExecutor | None] = None
    _fetching: ClassVar[dict[Path, Future[None]]] = {}

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._home = Path(engine.access.home) / "salvage"

    def goes_on(self, group_id: str, name: str, container: str) -> bool:
        """Say whether a process's folder is still being fetched or shipped, and see that it is."""
        local_runners.reap()
        place = self._home / group_id / name
        if (place / FETCHED).exists():
            return local_runners.is_being_salvaged(Folder(str(place)))
        fetching = self._fetching.get(place)
        if fetching is None:
            self._fetching[place] = self._pool().submit(self._fetch, place, container)
            return True
        if not fetching.done():
            return True
        del self._fetching[place]
        fetching.result()
        return (place / FETCHED).exists()

    def forget(self, group_id: str) -> None:
        """Remove what was fetched of a group."""
        shutil.rmtree(self._home / group_id, ignore_errors=True)

    @classmethod
    def _pool(cls) -> ThreadPoolExecutor:
        if cls._threads is None:
            cls._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="salvage")
        return cls._threads

    def _fetch(self, place: Path, container: str) -> None:
        """Copy a runner's folder, and make it one that a runner of this machine can finish."""
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, mode=0o700)
        with self._engine.asked(f"What {place.name} left could not be fetched") as client:
            try:
                state = client.api.inspect_container(container)["State"]
                chunks, _ = client.api.get_archive(container, containers.FOLDER, COPY_BYTES)
                unpack(chunks, place, _is_shipped)
            except NotFound:
                return
        folder = Folder(str(place))
        settings = read_json(folder.settings)
        if settings is None:
            return
        access = self._engine.access
        write_json(
            folder.settings, {**settings, "url": access.own_url, "ca_bundle": access.ca_bundle}
        )
        if read_json(folder.ending) is None:
            write_json(folder.ending, _ending_of(state, Path(folder.launched).exists()))
        mark(str(place / FETCHED))


def _ending_of(state: dict[str, Any], was_launched: bool) -> dict[str, Any]:
    """Say how a process ended whose runner could not say it any more."""
    if state["OOMKilled"]:
        reason = "the system killed it for want of memory"
    elif was_launched:
        reason = "its container was killed, or the engine was restarted"
    else:
        reason = "never started: its container ended before"
    if state["Error"]:
        reason = f"{reason} ({state['Error']})"
    return {
        "exit_code": state["ExitCode"] or KILLED,
        "reason": reason,
        "out_of_memory": state["OOMKilled"],
    }


def _is_shipped(parts: Sequence[str]) -> bool:
    """Tell what may have to be shipped from what was fetched before: a source, a model."""
    return parts[0] != WORK or parts[1:2] in SHIPPED


def unpack(
    chunks: Iterable[bytes],
    place: Path,
    is_wanted: Callable[[Sequence[str]], bool] = lambda parts: True,
) -> None:
    """Write the regular files of an archive below `place`; links and devices are left out.

    What a container sends is not trusted: nothing is written through a link, or elsewhere.
    """
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
                raise BackendError(
                    f"What {place.name} left cannot be kept on this server: {error.strerror}.",
                    retryable=True,
                ) from error


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
