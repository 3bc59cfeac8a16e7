"""Which versions of a model are on disk, in memory and on their way between the two.

Everything here runs on the event loop, so nothing needs a lock; only the directory look and the
load itself go to a thread.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from ..errors import Code, ServingError
from ..signatures import Signature
from .directories import Fingerprint, is_settled, list_versions
from .model_config import ModelConfig

log = logging.getLogger("modelserver")


class VersionState(StrEnum):
    """A version's life, in TensorFlow Serving's words."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


class Servable(Protocol):
    """A model in memory."""

    @property
    def signatures(self) -> Mapping[str, Signature]: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...
    @property
    def definitions(self) -> Mapping[str, Any]: ...
    @property
    def close(self) -> Callable[[], None]: ...


@dataclass(frozen=True, slots=True)
class PollingPolicy:
    """When to look at the directories, and how often to try a load again."""

    every: float = 1.0  # 0 looks once, less than 0 never
    retries: int = 5
    retry_every: float = 60.0


@dataclass(slots=True)
class ServableVersion:
    """One version's state; requests hold it while they use what is loaded."""

    model: str
    number: int
    path: Path
    seen: Fingerprint
    state: VersionState = VersionState.START
    error: ServingError | None = None
    servable: Servable | None = None
    wanted: bool = True
    _in_flight: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def loaded(self) -> Servable:
        if self.servable is None:
            raise RuntimeError(f"version {self.number} is not in memory")
        return self.servable

    def hold(self) -> Servable:
        """Keep the version in memory until `release`."""
        servable = self.loaded
        self._in_flight += 1
        return servable

    def release(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    async def drained(self) -> None:
        """Wait until no request holds the version."""
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()


@dataclass(frozen=True, slots=True)
class VersionLoader:
    """How versions get into memory and out of it."""

    load: Callable[[Path], Servable]
    loaders: Executor
    unloaders: Executor


class ServedModel:
    """A name, a directory, and the versions found in it."""

    def __init__(self, name: str, loading: VersionLoader, polling: PollingPolicy) -> None:
        self.name = name
        self.versions: dict[int, ServableVersion] = {}
        self.labels: Mapping[str, int] = {}
        self.latest: ServableVersion | None = None
        self.first_outcome: asyncio.Future[ServableVersion | None] = _future()
        self._config: ModelConfig | None = None
        self._loading = loading
        self._polling = polling
        self._tasks: set[asyncio.Task[None]] = set()
        self._complaint = ""
        self._changed = asyncio.Event()

    @property
    def is_served(self) -> bool:
        """Whether the configuration names this model."""
        return self._config is not None

    def serve(self, config: ModelConfig) -> None:
        """Follow a configuration from the next look on; its labels count at once."""
        if self._config is None and self.first_outcome.done():
            self.first_outcome = _future()
        self._config = config
        self.labels = config.labels

    def unload_all(self) -> None:
        """Let every version go."""
        self._config = None
        self.labels = {}
        self._want([])
        if not self.first_outcome.done():
            self.first_outcome.set_result(None)

    def find(self, number: int | None = None) -> ServableVersion:
        """Return the version to answer with: the one asked for, else the latest available."""
        if number is None:
            if self.latest is None:
                raise not_found(self.name)
            return self.latest
        version = self.versions.get(number)
        if version is None or version.state is not VersionState.AVAILABLE:
            raise not_found(self.name, number)
        return version

    async def look(self) -> bool:
        """Compare the directory with what is known; True when it is worth another look soon."""
        config = self._config
        if config is None:
            return False
        moving = (VersionState.START, VersionState.END)
        settled = {n for n, version in self.versions.items() if version.state not in moving}
        try:
            listing = await asyncio.to_thread(list_versions, config, settled)
        except OSError as error:
            self._warn_once(f"Can't look into {config.base_path}: {error.strerror or error}")
            return False
        if self._config is not config:
            return True
        self._warn_once(listing.problem)
        found = listing.versions
        for number, (path, seen) in found.items():
            self._load_if_new(number, path, seen)
        self._want(found)
        return any(
            self.versions[n].state in (VersionState.START, VersionState.UNLOADING) for n in found
        )

    def _want(self, numbers: Collection[int]) -> None:
        """Keep these versions and no others."""
        for version in self.versions.values():
            if version.number not in numbers:
                version.wanted = False
                if version.state is VersionState.START:
                    version.state = VersionState.END
        self._changed.set()
        self._changed = asyncio.Event()
        self._unload_surplus()

    def _load_if_new(self, number: int, path: Path, seen: Fingerprint | None) -> None:
        """Load a version if it is new, has come back, or changed after it failed.

        A directory that is still being written is left alone until it holds still, and one that
        failed is not tried again as it is.
        """
        version = self.versions.get(number)
        if seen is None:
            if version is not None:
                version.wanted = True
            return
        if version is None or (
            version.state is VersionState.END
            and (version.error is None or not version.wanted or version.seen != seen)
        ):
            version = self.versions[number] = ServableVersion(self.name, number, path, seen)
            holds_still = is_settled(seen)
        elif version.state is VersionState.START:
            holds_still = version.seen == seen
            version.seen = seen
        else:
            return
        version.wanted = True
        if holds_still:
            version.state = VersionState.LOADING
            self._spawn(self._load(version))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, version: ServableVersion) -> None:
        log.info("Loading version %d of model %s", version.number, self.name)
        started = monotonic()
        version.servable = await self._attempt(version)
        if version.servable is None:
            version.state = VersionState.END
        else:
            version.state, version.error = VersionState.AVAILABLE, None
            seconds = monotonic() - started
            log.info(
                "Version %d of model %s is available after %.2f s",
                version.number,
                self.name,
                seconds,
            )
        self._choose_latest()
        self._unload_surplus()
        if not self.first_outcome.done():
            self.first_outcome.set_result(version)

    async def _attempt(self, version: ServableVersion) -> Servable | None:
        """Load, again after a pause where that fails, until there is no point any more."""
        loop = asyncio.get_running_loop()
        for retries_left in range(self._polling.retries, -1, -1):
            try:
                return await loop.run_in_executor(
                    self._loading.loaders, self._loading.load, version.path
                )
            except ServingError as error:
                version.error = error
            except Exception as error:
                version.error = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
            log.error(
                "Version %d of model %s could not be loaded: %s",
                version.number,
                self.name,
                version.error.message,
            )
            if not retries_left or not await self._still_wanted_later(version):
                break
        return None

    async def _still_wanted_later(self, version: ServableVersion) -> bool:
        until = monotonic() + self._polling.retry_every
        while version.wanted and (left := until - monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        return version.wanted

    def _unload_surplus(self) -> None:
        """Let old versions go once a wanted one serves, or when none is wanted any more."""
        wanted = [version for version in self.versions.values() if version.wanted]
        alive = [version for version in wanted if version.state is VersionState.AVAILABLE]
        if wanted and not alive:
            return
        for version in self.versions.values():
            if version.state is VersionState.AVAILABLE and not version.wanted:
                version.state = VersionState.UNLOADING
                self._spawn(self._unload(version))
        self._choose_latest()

    async def _unload(self, version: ServableVersion) -> None:
        await version.drained()
        # Nothing but `close` may know the model from here on, or its memory couldn't be freed.
        close, version.servable = version.loaded.close, None
        await asyncio.get_running_loop().run_in_executor(self._loading.unloaders, close)
        version.state = VersionState.END
        log.info("Version %d of model %s is unloaded", version.number, self.name)

    def _choose_latest(self) -> None:
        available = [v.number for v in self.versions.values() if v.state is VersionState.AVAILABLE]
        self.latest = self.versions[max(available)] if available else None

    def _warn_once(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint


def not_found(name: str, number: int | None = None) -> ServingError:
    """Make the error for a model or version that this server can't answer with."""
    wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
    return ServingError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")


def _future() -> "asyncio.Future[ServableVersion | None]":
    return asyncio.get_running_loop().create_future()
