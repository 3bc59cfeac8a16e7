"""The local target: processes on this machine, each under a runner of its own.

All that is known of a group lies in its folder, so whoever looks there after a restart knows it
too. A runner holds a lock on its folder for as long as it lives.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

from runner import procfs
from runner.constants import (
    CA_BUNDLE_VARIABLE,
    DIRECTORY_VARIABLE,
    SETTINGS_FILE,
    URL_VARIABLE,
)
from runner.process_directory import ProcessDirectory, read_json, write_json, write_text
from runner.termination import read_termination
from workspace.compute import confinement, runner_processes
from workspace.compute.access import ImageLogin, TargetAccess
from workspace.compute.base import (
    BackendError,
    BuiltEnvironment,
    GroupPlan,
    Node,
    ProcessPlan,
    ProcessStatus,
    ProcessStatusState,
)
from workspace.compute.connection_test import ConnectionStep, ServerAddress
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.local import machine, virtualenvs
from workspace.compute.local.connection_test import local_connection_test
from workspace.compute.local.ports import free_port, ports_in, ports_of
from workspace.compute.local.sandboxed_jobs import run_on_this_machine
from workspace.compute.runner_settings import runner_settings
from workspace.compute.sandboxed_job import SandboxedJob
from workspace.one_look import found

LABEL = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,63}")
KILL_SECONDS = 5.0
FINGERPRINT_MARK = "@"  # in references: what the environment was when it was built follows


class LocalBackend:
    """Runs groups of processes on this machine, with everything of them below `home`."""

    def __init__(self, access: TargetAccess) -> None:
        self.access = access
        self.home = Path(access.home)
        self._groups = self.home / "local"

    def check(self) -> Sequence[Node]:
        return [machine.this_node()]

    def mpi_problem(self) -> str:
        return "" if machine.has_mpirun() else machine.NO_MPIRUN

    def connection_test(self, server: ServerAddress) -> Iterator[list[ConnectionStep]]:
        return local_connection_test(str(self.home))

    def run_job(self, environment: str, job: SandboxedJob, log: Callable[[bytes], Any]) -> int:
        return run_on_this_machine(self.home, self._environment(environment), job, log)

    def prepare(
        self,
        digest: str,
        spec: Mapping[str, Any],
        log: Callable[[bytes], Any],
        login: ImageLogin | None = None,
    ) -> BuiltEnvironment:
        wanted = EnvironmentSpec.from_json(spec)
        folder = self.home / "environments" / digest
        virtualenvs.build(folder, wanted, log)
        packages, versions = virtualenvs.packages_in(folder), virtualenvs.versions_in(folder)
        return BuiltEnvironment(
            f"environments/{digest}{FINGERPRINT_MARK}{virtualenvs.seal(folder)}",
            packages,
            virtualenvs.size_of(folder),
            versions,
        )

    def has_environment(self, reference: str) -> bool:
        """Return whether an environment is there as it was built, and nobody changed it."""
        folder, _, fingerprint = reference.partition(FINGERPRINT_MARK)
        path = self.home / folder
        if not (path / "bin" / "python").exists():
            return False
        look = partial(virtualenvs.fingerprint_of, path)
        return not fingerprint or fingerprint == found(path, look)

    def discard(self, reference: str) -> None:
        virtualenvs.remove(self._folder_of(reference))

    def prune_virtualenvs(self, digests: Collection[str]) -> int:
        return virtualenvs.prune(self.home, digests)

    def addresses(self, plan: GroupPlan) -> Mapping[str, Sequence[str]]:
        group = self._group(plan.id)
        group.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._choosing_ports() as taken:
            given = ports_in(group / "ports.json")
            for process in plan.processes:
                ports = given.setdefault(process.name, [])
                preferred = ports_of(plan.addresses.get(process.name, ()))
                while len(ports) < process.ports:
                    ports.append(free_port(taken, preferred[len(ports) :]))
                    taken.add(ports[-1])
            write_json(str(group / "ports.json"), given)
        return {
            process.name: [f"127.0.0.1:{port}" for port in given[process.name]]
            for process in plan.processes
        }

    def start(self, plan: GroupPlan) -> None:
        runner_processes.reap()
        try:
            missing = [each for each in plan.processes if not self._was_started(plan, each)]
            environment = self._environment(plan.environment_reference) if missing else Path()
            for process in missing:
                self._start_process(plan, process, environment)
        except OSError as error:
            self.kill(plan.id)
            raise BackendError(f"The processes could not be started: {error}") from error

    def observe(self, group_id: str) -> Sequence[ProcessStatus]:
        runner_processes.reap()
        return [_process_status(name, folder) for name, folder in self._folders(group_id)]

    def stop(self, group_id: str, grace: timedelta) -> None:
        for _, folder in self._folders(group_id):
            with suppress(OSError):  # without it the runner gives the grace that its run has
                write_text(folder.grace, str(grace.total_seconds()))
            runner = _runner_of(folder)
            if runner is not None:
                procfs.send_signal(runner, SIGTERM)

    def recover_outputs(self, group_id: str, names: Sequence[str]) -> Sequence[str]:
        runner_processes.reap()
        return [
            name
            for name, folder in self._folders(group_id)
            if name in names and runner_processes.recover_if_needed(folder, self.access)
        ]

    def kill(self, group_id: str) -> None:
        deadline = time.monotonic() + KILL_SECONDS
        while left := self._living(group_id):
            for process in left:
                procfs.send_signal(process, SIGKILL)
            runner_processes.reap()
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

    def keeps_checkpoints(self) -> bool:
        return True

    def checkpoint_folder(self, name: str) -> str:
        folder = self._checkpoints(name)
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def remove_checkpoints(self, name: str) -> None:
        shutil.rmtree(self._checkpoints(name), ignore_errors=True)

    def _checkpoints(self, name: str) -> Path:
        return self.home / "runs" / name.removeprefix("run-") / "checkpoints"

    def _group(self, group_id: str) -> Path:
        if not LABEL.fullmatch(group_id):
            raise BackendError(f"{group_id!r} cannot be the name of a group.")
        return self._groups / group_id

    def _folders(self, group_id: str) -> list[tuple[str, ProcessDirectory]]:
        found = sorted(self._group(group_id).glob(f"*/{SETTINGS_FILE}"))
        return [
            (path.parent.name, ProcessDirectory(str(path.parent)))
            for path in found
            if not path.parent.is_symlink()  # a program may lead to another group's
        ]

    def _folder_of(self, reference: str) -> Path:
        return self.home / reference.partition(FINGERPRINT_MARK)[0]

    def _environment(self, reference: str) -> Path:
        """Return the folder of an environment that nobody changed since it was built."""
        folder = self._folder_of(reference)
        if not self.has_environment(reference):
            raise BackendError(
                f"The environment {folder.relative_to(self.home)} is not there as it was built: it"
                " was removed or changed. It is built again for the next run that needs it."
            )
        return folder

    def _confinement(
        self, plan: GroupPlan, process: ProcessPlan, environment: Path
    ) -> confinement.Confinement:
        group = self._group(plan.id)
        ca_bundle = process.environment.get(CA_BUNDLE_VARIABLE, "")
        if process.loads_model:
            return confinement.of_model_server(self.home, environment, group, ca_bundle)
        kept = [group, *([self._checkpoints(plan.checkpoints)] if plan.checkpoints else [])]
        return confinement.of_run(self.home, environment, kept, ca_bundle)

    def _was_started(self, plan: GroupPlan, process: ProcessPlan) -> bool:
        """Return whether a process lives, or its program was started before."""
        folder = ProcessDirectory(str(self._group(plan.id) / process.name))
        found = os.path.exists(folder.launched) or os.path.exists(folder.exit_record)
        return found or folder.is_locked()

    def _start_process(self, plan: GroupPlan, process: ProcessPlan, environment: Path) -> None:
        """Start the runner of one process, unless it lives."""
        folder = ProcessDirectory(str(self._group(plan.id) / process.name))
        os.makedirs(folder.path, mode=0o700, exist_ok=True)
        lock = folder.try_lock()
        if lock is None:
            return
        settings = runner_settings(
            plan.id,
            process,
            url=process.environment[URL_VARIABLE],
            ca_bundle=process.environment.get(CA_BUNDLE_VARIABLE, ""),
            binaries=str(environment / "bin"),
        )
        write_json(folder.settings, settings)
        confined_by = self._confinement(plan, process, environment).command()
        # Nothing is read in the home of the server's user, nor written to a shared /tmp.
        variables = {"HOME": folder.path, "TMPDIR": folder.path} if process.loads_model else {}
        runner_processes.spawn(folder, lock, confined_by=confined_by, variables=variables)

    def _living(self, group_id: str) -> list[procfs.ProcessStat]:
        """Find what lives of a group, each runner before what it would see ending.

        That is what carries its mark, what is confined to its folder, and what descends from its
        runners.
        """
        group = self._group(group_id)
        marked = procfs.processes_with_variable(_mark_of(group))
        confined = procfs.processes_with_mount(str(group))
        below = [
            process
            for _, folder in self._folders(group_id)
            if (runner := _runner_of(folder)) is not None
            for process in (runner, *procfs.descendants(runner.pid))
            if not process.is_zombie
        ]
        return list({process.pid: process for process in [*below, *marked, *confined]}.values())

    @contextmanager
    def _choosing_ports(self) -> Iterator[set[int]]:
        """Hold the only right to choose ports, with those that living groups were given."""
        with open(self._groups / "ports.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            given = map(ports_in, self._groups.glob("*/ports.json"))
            yield {port for ports in given for some in ports.values() for port in some}


def _mark_of(group: Path) -> bytes:
    return f"{DIRECTORY_VARIABLE}={group}/".encode()


def _runner_of(folder: ProcessDirectory) -> procfs.ProcessStat | None:
    """Find the runner that holds a folder: by its record if that is true, else by its mark."""
    if not folder.is_locked():
        return None
    recorded = read_json(folder.pid)
    if recorded and type(recorded.get("pid")) is int:
        status = procfs.status_of(recorded["pid"])
        if status is not None and status.started == recorded.get("started"):
            return status
    for process in procfs.processes_with_variable(f"{DIRECTORY_VARIABLE}={folder.path}\0".encode()):
        with suppress(OSError):
            if str(runner_processes.RUNNER) in Path(f"/proc/{process.pid}/cmdline").read_text():
                return process
    return None


def _process_status(name: str, folder: ProcessDirectory) -> ProcessStatus:
    ending = read_termination(folder.exit_record)
    if folder.is_locked():
        state = ProcessStatusState.ALIVE
    else:
        state = ProcessStatusState.EXITED if ending else ProcessStatusState.GONE
    return ProcessStatus(
        name,
        state,
        ending.exit_code if ending else None,
        ending.reason if ending else "",
        node=os.uname().nodename,
    )
