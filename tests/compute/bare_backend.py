"""A kind of target for tests, as small as one can be: bare processes of this machine.

docs/contributing/backends.md walks through it. It is registered by one line:

    KINDS["bare"] = KindInfo("Bare processes", "tests.compute.bare_backend:BareBackend", ...)
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL
from typing import Any

from runner import procfs
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
from workspace.compute.registry import KindInfo
from workspace.compute.runner_zip import runner_zip

BARE = KindInfo(
    "Bare processes",
    "tests.compute.bare_backend:BareBackend",
    frozenset({"allow_shared"}),
    is_this_machine=True,
    isolates_users=False,
    publishes_ports=False,
    has_mpi_workers=False,
)
LABEL = "TRAINYARD_RUNNER_DIR"  # in the environment of the runner and of all that it starts
_runners: list[subprocess.Popen[bytes]] = []
RUN_AND_RECORD = '"$@"; echo $? > "$0.tmp" && mv "$0.tmp" "$0"'


class BareBackend:
    """Runs each runner from its zip file, in a folder that the rest of the product never reads."""

    def __init__(self, access: TargetAccess) -> None:
        self._home = Path(f"{access.home}-bare")

    def check(self) -> Sequence[Node]:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return [Node(os.uname().nodename, float(os.cpu_count() or 1), pages)]

    def prepare(
        self,
        digest: str,
        spec: Mapping[str, Any],
        log: Callable[[bytes], Any],
        login: ImageLogin | None = None,
    ) -> BuiltEnvironment:
        folder = self._home / "environments" / digest
        if not folder.exists():
            log(b"Linking this Python.\n")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "python").symlink_to(Path(sys.executable).resolve())
        return BuiltEnvironment(str(folder), {}, 0)

    def has_environment(self, reference: str) -> bool:
        return Path(reference, "python").exists()

    def discard(self, reference: str) -> None:
        shutil.rmtree(reference, ignore_errors=True)

    def addresses(self, plan: GroupPlan) -> Mapping[str, Sequence[str]]:
        kept = self._group(plan.id) / "addresses.json"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            chosen = {p.name: [_free_address() for _ in range(p.ports)] for p in plan.processes}
            kept.write_text(json.dumps(chosen))
        given: dict[str, list[str]] = json.loads(kept.read_text())
        return given

    def start(self, plan: GroupPlan) -> None:
        if not self.has_environment(plan.environment_reference):
            raise BackendError(f"The environment {plan.environment_reference} is not there.")
        there = {status.name for status in self.observe(plan.id) if _was_started(status)}
        try:
            for process in plan.processes:
                if process.name not in there:
                    self._start(self._group(plan.id), plan, process)
        except OSError as error:
            self.kill(plan.id)
            raise BackendError(f"{plan.id} could not be started: {error}") from error

    def observe(self, group_id: str) -> Sequence[ProcessStatus]:
        _reap()
        return [_status_of(folder) for folder in sorted(self._group(group_id).glob("*/"))]

    def stop(self, group_id: str, grace: timedelta) -> None:
        """Leave it to the web, which tells runners with their next heartbeat."""

    def kill(self, group_id: str) -> None:
        mark = f"{LABEL}={self._group(group_id)}/".encode()
        while living := procfs.processes_with_variable(mark):
            for process in living:
                procfs.send_signal(process, SIGKILL)
            time.sleep(0.01)
        _reap()

    def recover_outputs(self, group_id: str, names: Sequence[str]) -> Sequence[str]:
        return []

    def remove(self, group_id: str) -> None:
        self.kill(group_id)
        shutil.rmtree(self._group(group_id), ignore_errors=True)

    def keeps_checkpoints(self) -> bool:
        return True

    def checkpoint_folder(self, name: str) -> str:
        folder = self._home / "checkpoints" / name
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def remove_checkpoints(self, name: str) -> None:
        shutil.rmtree(self._home / "checkpoints" / name, ignore_errors=True)

    def _group(self, group_id: str) -> Path:
        return self._home / "groups" / group_id

    def _start(self, group: Path, plan: GroupPlan, process: ProcessPlan) -> None:
        folder = group / process.name
        folder.mkdir(parents=True, exist_ok=True)
        program = group / "runner.pyz"
        program.write_bytes(runner_zip())
        given = process.environment
        settings = {
            "url": given["TRAINYARD_URL"],
            "token": given["TRAINYARD_PROCESS_TOKEN"],
            "ca_bundle": given.get("TRAINYARD_CA_BUNDLE", ""),
            "group": plan.id,
            "name": process.name,
            "bin": plan.environment_reference,
            "gpus": list(process.gpus),
            "environment": {},
        }
        (folder / "runner.json").write_text(json.dumps(settings))
        command = (sys.executable, "-I", "-S", str(program), str(folder))
        runner = subprocess.Popen(
            ["sh", "-c", RUN_AND_RECORD, str(_record(folder)), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], LABEL: str(folder)},
            start_new_session=True,
        )
        _runners.append(runner)


def _record(folder: Path) -> Path:
    """Return the file that holds a runner's exit code once it has ended."""
    return folder.with_suffix(".exit")


def _status_of(folder: Path) -> ProcessStatus:
    node = os.uname().nodename
    if procfs.processes_with_variable(f"{LABEL}={folder}\0".encode()):
        return ProcessStatus(folder.name, ProcessStatusState.ALIVE, node=node)
    if _record(folder).exists():
        code = int(_record(folder).read_text())
        return ProcessStatus(folder.name, ProcessStatusState.EXITED, code, node=node)
    was_started = (folder / "launched").exists()
    reason = "it was killed" if was_started else "it never started"
    return ProcessStatus(folder.name, ProcessStatusState.GONE, reason=reason, node=node)


def _was_started(status: ProcessStatus) -> bool:
    return status.state != ProcessStatusState.GONE or status.reason == "it was killed"


def _reap() -> None:
    """Take in runners that have ended, so that none stays behind as a zombie."""
    _runners[:] = [runner for runner in _runners if runner.poll() is None]


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
