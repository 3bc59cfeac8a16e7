"""The local target: processes on this machine, each under a runner of its own.

All that is known of a group lies in its folder, so whoever looks there after a restart knows it
too. A runner holds a lock on its folder for as long as it lives.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

from runs.runner import procfs
from runs.runner.folder import Folder, read_json, write_json
from workspace.compute import local_environment, local_machine, local_runners
from workspace.compute.access import ImageLogin, TargetAccess
from workspace.compute.base import (
    BackendError,
    BuiltEnvironment,
    GroupPlan,
    Node,
    ProcessPlan,
    Sighting,
    SightingState,
)
from workspace.environments_spec import EnvironmentSpec

LABEL = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,63}")
KILL_SECONDS = 5.0


class LocalBackend:
    """Runs groups of processes on this machine, with everything of them below `home`."""

    def __init__(self, access: TargetAccess) -> None:
        self.home = Path(access.home)
        self._groups = self.home / "local"

    def check(self) -> Sequence[Node]:
        return [local_machine.look()]

    def prepare(
        self,
        digest: str,
        spec: Mapping[str, Any],
        log: Callable[[bytes], Any],
        login: ImageLogin | None = None,
    ) -> BuiltEnvironment:
        wanted = EnvironmentSpec.from_json(spec)
        reference = f"environments/{digest}"
        folder = self.home / reference
        local_environment.build(folder, wanted, log)
        return BuiltEnvironment(
            reference,
            local_environment.packages_in(folder),
            local_environment.size_of(folder),
            local_environment.versions_in(folder),
        )

    def has_environment(self, reference: str) -> bool:
        return (self.home / reference / "bin" / "python").exists()

    def discard(self, reference: str) -> None:
        shutil.rmtree(self.home / reference, ignore_errors=True)

    def addresses(self, plan: GroupPlan) -> Mapping[str, Sequence[str]]:
        group = self._group(plan.id)
        group.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._choosing_ports() as taken:
            given = local_machine.ports_in(group / "ports.json")
            for process in plan.processes:
                ports = given.setdefault(process.name, [])
                wished = local_machine.ports_of(plan.addresses.get(process.name, ()))
                while len(ports) < process.ports:
                    ports.append(local_machine.free_port(taken, wished[len(ports) :]))
                    taken.add(ports[-1])
            write_json(str(group / "ports.json"), given)
        return {
            process.name: [f"127.0.0.1:{port}" for port in given[process.name]]
            for process in plan.processes
        }

    def start(self, plan: GroupPlan) -> None:
        local_runners.reap()
        python = self.home / plan.environment_reference / "bin"
        if not (python / "python").exists():
            raise BackendError(f"The environment {plan.environment_reference} is not there.")
        try:
            for process in plan.processes:
                self._start_process(plan.id, process, str(python))
        except OSError as error:
            self.kill(plan.id)
            raise BackendError(f"The processes could not be started: {error}") from error

    def observe(self, group_id: str) -> Sequence[Sighting]:
        local_runners.reap()
        return [_sighting(name, folder) for name, folder in self._folders(group_id)]

    def stop(self, group_id: str, grace: timedelta) -> None:
        for _, folder in self._folders(group_id):
            Path(folder.grace).write_text(str(grace.total_seconds()))
            runner = _runner_of(folder)
            if runner is not None:
                procfs.send(runner, SIGTERM)

    def salvage(self, group_id: str, names: Sequence[str]) -> Sequence[str]:
        local_runners.reap()
        return [
            name
            for name, folder in self._folders(group_id)
            if name in names and local_runners.is_being_salvaged(folder)
        ]

    def kill(self, group_id: str) -> None:
        deadline = time.monotonic() + KILL_SECONDS
        while left := self._living(group_id):
            for process in left:
                procfs.send(process, SIGKILL)
            local_runners.reap()
            if time.monotonic() > deadline:
                numbers = ", ".join(str(process.pid) for process in left)
                raise BackendError(
                    f"Processes of {group_id} are left that cannot be killed: {numbers}.",
                    retryable=True,
                )
            time.sleep(0.01)

    def remove(self, group_id: str) -> None:
        group = self._group(group_id)
        if not group.exists():
            return
        self.kill(group_id)
        shutil.rmtree(group, ignore_errors=True)
        if group.exists():
            raise BackendError(f"The folder of {group_id} cannot be removed.", retryable=True)

    def discard_checkpoints(self, name: str) -> None:
        shutil.rmtree(self.home / "runs" / name.removeprefix("run-") / "checkpoints", True)

    def _group(self, group_id: str) -> Path:
        if not LABEL.fullmatch(group_id):
            raise BackendError(f"{group_id!r} cannot be the name of a group.")
        return self._groups / group_id

    def _folders(self, group_id: str) -> list[tuple[str, Folder]]:
        found = self._group(group_id).glob("*/runner.json")
        return [(path.parent.name, Folder(str(path.parent))) for path in sorted(found)]

    def _start_process(self, group_id: str, process: ProcessPlan, python: str) -> None:
        """Start the runner of one process, unless it lives or its program was started before."""
        folder = Folder(str(self._group(group_id) / process.name))
        os.makedirs(folder.path, mode=0o700, exist_ok=True)
        if os.path.exists(folder.launched) or os.path.exists(folder.ending):
            return
        lock = folder.take()
        if lock is None:
            return
        variables = {k: v for k, v in process.environment.items() if k not in _RUNNERS_OWN}
        write_json(
            folder.settings,
            {
                "url": process.environment["TRAINYARD_URL"],
                "token": process.environment["TRAINYARD_PROCESS_TOKEN"],
                "ca_bundle": process.environment.get("TRAINYARD_CA_BUNDLE", ""),
                "group": group_id,
                "name": process.name,
                "bin": python,
                "gpus": list(process.gpus),
                "environment": variables,
            },
        )
        local_runners.spawn(folder, lock)

    def _living(self, group_id: str) -> list[procfs.Status]:
        """Find what lives of a group, each runner before what it would see ending.

        That is what carries its mark, and what descends from its runners.
        """
        marked = procfs.carrying(_mark_of(self._group(group_id)))
        below = [
            process
            for _, folder in self._folders(group_id)
            if (runner := _runner_of(folder)) is not None
            for process in (runner, *procfs.descendants(runner.pid))
            if not process.is_zombie
        ]
        return list({process.pid: process for process in [*below, *marked]}.values())

    @contextmanager
    def _choosing_ports(self) -> Iterator[set[int]]:
        """Hold the only right to choose ports, with those that living groups were given."""
        with open(self._groups / "ports.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            given = map(local_machine.ports_in, self._groups.glob("*/ports.json"))
            yield {port for ports in given for some in ports.values() for port in some}


_RUNNERS_OWN = {"TRAINYARD_URL", "TRAINYARD_PROCESS_TOKEN", "TRAINYARD_CA_BUNDLE"}


def _mark_of(group: Path) -> bytes:
    return f"TRAINYARD_RUNNER_DIR={group}/".encode()


def _runner_of(folder: Folder) -> procfs.Status | None:
    """Find the runner that holds a folder: by its record if that is true, else by its mark."""
    if not folder.is_taken():
        return None
    recorded = read_json(folder.pid)
    if recorded:
        status = procfs.status_of(recorded["pid"])
        if status is not None and status.started == recorded["started"]:
            return status
    for process in procfs.carrying(f"TRAINYARD_RUNNER_DIR={folder.path}\0".encode()):
        with suppress(OSError):
            if str(local_runners.RUNNER) in Path(f"/proc/{process.pid}/cmdline").read_text():
                return process
    return None


def _sighting(name: str, folder: Folder) -> Sighting:
    ending = read_json(folder.ending) or {}
    if folder.is_taken():
        state = SightingState.ALIVE
    else:
        state = SightingState.EXITED if ending else SightingState.GONE
    return Sighting(
        name, state, ending.get("exit_code"), ending.get("reason", ""), node=os.uname().nodename
    )
