"""A core over directories of the test's making, with models that need no TensorFlow."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.modelserver.errors import Code, ServingError
from deploy.modelserver.loading.model_config import ModelConfig, VersionPolicy
from deploy.modelserver.loading.server_core import ServerCore
from deploy.modelserver.loading.versions import PollingPolicy, VersionLoader
from deploy.modelserver.signatures import Signature

DEADLINE = 20.0


@dataclass
class FakeServable:
    """A model in memory that does nothing but remember whether it was unloaded."""

    path: Path
    is_closed: bool = False
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    definitions: Mapping[str, Any] = field(default_factory=dict)

    def close(self) -> None:
        self.is_closed = True


class ModelDirectories:
    """Directories of models, and the loader that reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun: list[str] = []
        self.loaded: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def put(self, name: str, *versions: int, broken: bool = False) -> None:
        """Put whole versions in place, as old as if they had always been there."""
        for version in versions:
            path = self.folder / name / str(version)
            path.mkdir(parents=True)
            (path / ("broken" if broken else "whole")).touch()
            long_ago = time.time() - 60
            for made in (path, *path.iterdir()):
                os.utime(made, (long_ago, long_ago))

    def load(self, path: Path) -> FakeServable:
        """Load a version, as soon as the test lets it."""
        self.begun.append(f"{path.parent.name}/{path.name}")
        if not self.gate.wait(DEADLINE):
            raise TimeoutError
        self.loaded.append(f"{path.parent.name}/{path.name}")
        if (path / "broken").exists():
            raise ServingError(Code.DATA_LOSS, f"{path.name} is broken")
        return FakeServable(path)

    def config(self, name: str, policy: VersionPolicy | None = None, **labels: int) -> ModelConfig:
        """Configure a model of this shelf."""
        return ModelConfig(name, self.folder / name, policy or VersionPolicy(), labels)

    @asynccontextmanager
    async def core(
        self,
        *,
        labels_early: bool = False,
        every: float = 0.01,
        threads: int = 1,
        retries: int = 0,
        retry_every: float = 60.0,
    ) -> AsyncIterator[ServerCore]:
        """Run a core over the shelf that tries each load once and looks all the time."""
        with ThreadPoolExecutor(threads) as pool:
            polling = PollingPolicy(every, retries, retry_every)
            core = ServerCore(
                VersionLoader(self.load, pool, pool), polling, labels_early=labels_early
            )
            watching = asyncio.create_task(core.watch())
            try:
                yield core
            finally:
                self.gate.set()
                watching.cancel()


def states(core: ServerCore, name: str) -> dict[int, str]:
    """Return a model's versions and their states, the newest first."""
    return {version.number: version.state.value for version in core.statuses(name)}


def available(core: ServerCore, name: str) -> list[int]:
    """Return the versions of a model that answer."""
    model = core.models[name]
    return sorted(n for n, version in model.versions.items() if version.state == "AVAILABLE")


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fail past the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.005)
