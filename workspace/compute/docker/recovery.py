"""Upload what runners left in containers that ended before all was sent."""

import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from docker.errors import NotFound

from runner.constants import (
    COPY_BYTES,
    KILLED,
    LOGS_DIRECTORY,
    OUT_OF_MEMORY,
    OUTPUTS_DIRECTORY,
    WORK_DIRECTORY,
)
from runner.found_files import shown
from runner.process_directory import ProcessDirectory, append_note, read_json, touch, write_json
from runner.termination import read_termination
from workspace.compute import containers, runner_processes
from workspace.compute.engine.archives import unpack
from workspace.compute.engine.client import Engine

FETCHED = "fetched"
SHIPPED = ((OUTPUTS_DIRECTORY,), (LOGS_DIRECTORY,))
MAX_PARALLEL = 2


class OutputRecovery:
    """Fetches folders of dead runners, and has a runner of this machine ship what they hold."""

    # Of all backends in this process. What a process that died was fetching is fetched anew.
    _threads: ClassVar[ThreadPoolExecutor | None] = None
    _fetching: ClassVar[dict[Path, Future[None]]] = {}

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._home = Path(engine.access.home) / "recovery"

    def is_recovering(self, group_id: str, name: str, container: str) -> bool:
        """Start recovering a process's folder if needed; return whether that goes on."""
        runner_processes.reap()
        place = self._home / group_id / name
        if (place / FETCHED).exists():
            folder = ProcessDirectory(str(place))
            return runner_processes.recover_if_needed(folder, self._engine.access)
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
            cls._threads = ThreadPoolExecutor(MAX_PARALLEL, thread_name_prefix="recovery")
        return cls._threads

    def _fetch(self, place: Path, container: str) -> None:
        """Copy a runner's folder, and make it one that a runner of this machine can finish."""
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, mode=0o700)
        with self._engine.asked(f"The files of {place.name} could not be recovered") as client:
            try:
                state = client.api.inspect_container(container)["State"]
                chunks, _ = client.api.get_archive(
                    container, containers.PROCESS_DIRECTORY, COPY_BYTES
                )
                unusable = unpack(chunks, place, _is_shipped)
            except NotFound:
                return
        folder = ProcessDirectory(str(place))
        for path, reason in unusable.items():
            written = path.removeprefix(f"{WORK_DIRECTORY}/")
            append_note(folder.spool, f"{shown(written)} was not kept: {reason}")
        settings = read_json(folder.settings)
        if settings is None:
            return
        access = self._engine.access
        write_json(
            folder.settings, {**settings, "url": access.server_url, "ca_bundle": access.ca_bundle}
        )
        if read_termination(folder.exit_record) is None:
            write_json(folder.exit_record, _ending_of(state, Path(folder.launched).exists()))
        touch(str(place / FETCHED))


def _ending_of(state: dict[str, Any], was_launched: bool) -> dict[str, Any]:
    """Return how a process ended whose runner could not report it."""
    if state["OOMKilled"]:
        reason = OUT_OF_MEMORY
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
    """Return whether a file may have to be uploaded: a source or a model need not."""
    return parts[0] != WORK_DIRECTORY or parts[1:2] in SHIPPED
