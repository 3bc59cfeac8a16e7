"""One process of a group from its start to its end."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from runner import mpi, procfs, program
from runner.checkpoints import CheckpointSync
from runner.constants import (
    DIRECTORY_VARIABLE,
    KILLED,
    LOGS_DIRECTORY,
    NOT_FOUND,
    OUTPUTS_DIRECTORY,
    RUNNER_ONLY_VARIABLES,
    STOPPED,
)
from runner.files import FileUploader
from runner.http_client import HttpClient, ProcessFenced, RequestRefused
from runner.logs import LogUploader, RankLogUploader
from runner.process_directory import (
    ProcessDirectory,
    append_note,
    read_json,
    read_tail,
    remove_secrets,
    touch,
    write_json,
    write_secrets,
    write_text,
)
from runner.server_connection import ServerConnection, ServerTimeout
from runner.tar_stream import UnpackFailed, make_read_only
from runner.termination import (
    Termination,
    grace_period_exceeded,
    memory_limit_exceeded,
    read_termination,
    server_timeout_exceeded,
    termination_of,
)
from runner.uploader import Uploader
from runner.usage_sampler import GpuUsageSampler, UsageSampler

BARRIER_PAUSES = (0.02, 0.05, 0.1, 0.2)
SAMPLE_SECONDS = 1.0
MEMORY_SECONDS = 0.2
NOT_PREPARED = 1
GRACE_BYTES = 64
FIRST_OF_A_CONTAINER = 1
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)


class StoppedBeforeStart(Exception):
    """The runner was told to stop before the program started."""


class Session:
    def __init__(self, folder: ProcessDirectory) -> None:
        self.folder = folder
        settings = read_json(folder.settings)
        if settings is None:
            raise FileNotFoundError(folder.settings)
        self._settings = settings
        self._connection = ServerConnection(
            settings["url"], settings["token"], settings["ca_bundle"], folder.path
        )
        self._http = self._connection.open()
        self._spec: dict[str, Any] = {}
        self._secrets: dict[str, Any] = {}
        self._ended = threading.Event()
        self._usage_sampler = UsageSampler()
        self._logs: LogUploader | None = None
        self._files: FileUploader | None = None
        self._ranks: RankLogUploader | None = None
        self._checkpoints: CheckpointSync | None = None
        self._was_stopped = False

    def run(self) -> None:
        """Fetch the source, wait for the others, run the program, ship what it leaves."""
        program.become_subreaper()
        if os.getpid() == FIRST_OF_A_CONTAINER:
            program.set_no_new_privileges()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        try:
            self._prepare()
            # Before the barrier: one that is done soon takes its name with it.
            program.wait_for_names(self._spec["peers"], self._note, self._connection.check)
            self._pass_barrier()
            time.sleep(self._spec["head_start_seconds"])
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        except StoppedBeforeStart:
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
            self._http.close()
            ending = Termination(STOPPED, "was stopped before it started")
            ending.was_stopped = True
            self._finalize(ending)
            return
        except (RequestRefused, UnpackFailed) as problem:
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
            self._note(f"cannot be prepared: {problem}")
            self._finalize(Termination(NOT_PREPARED, f"could not be prepared: {problem}"))
            return
        touch(self.folder.launched)
        command, variables = self._spec["command"], self._variables()
        if self._spec.get("mpi"):
            write_json(self.folder.variables, variables)
            command = mpi.command_of(self.folder, self._spec["mpi"])
        try:
            child = program.start(command, variables, self.folder.work, self.folder.spool)
        except program.ProgramStartFailed as problem:
            self._note(f"cannot start {command[0]}: {problem}")
            self._finalize(Termination(NOT_FOUND, f"could not start {command[0]}: {problem}"))
            return
        self._start_shipping()
        threading.Thread(target=self._beat, args=(child,), name="beat", daemon=True).start()
        ending = self._wait(child)
        ending.was_stopped = self._was_stopped
        self._finalize(ending)

    def finish(self) -> None:
        """Ship what a runner that was killed left behind, once nothing of its program lives.

        Its program may have written every file there: none of them says which folders are shipped.
        """
        self._spec = {**(read_json(self.folder.spec) or {}), "watch": [LOGS_DIRECTORY]}
        ending = read_termination(self.folder.exit_record)
        if ending is None:
            was_launched = os.path.exists(self.folder.launched)
            how = (
                "was killed with its runner"
                if was_launched
                else "never started: its runner was killed"
            )
            ending = Termination(KILLED, how)
        self._finalize(ending, is_resumed=True)

    def _prepare(self) -> None:
        self._spec = self._connection.call(self._http, "GET", "spec")
        self._secrets = self._spec.pop("secrets", {})
        self._connection.server_timeout_seconds = self._spec["server_timeout_seconds"] or math.inf
        if self._spec.get("resume"):
            self._spec["command"] += ["--resume-from", self.folder.resume]
            self._spec["environment"]["TRAINYARD_RESUME_FROM"] = self.folder.resume
        write_json(self.folder.spec, self._spec)
        for name in (OUTPUTS_DIRECTORY, *self._spec["watch"]):
            os.makedirs(os.path.join(self.folder.work, name), exist_ok=True)
        if self._spec["source"]:
            self._connection.fetch(self._http, "source", self.folder.work)
        if self._spec.get("resume"):
            os.makedirs(self.folder.resume, exist_ok=True)
            self._connection.fetch(self._http, "resume", self.folder.resume)
            make_read_only(self.folder.resume)
        if self._spec.get("checkpoints"):
            keeper = self._checkpoint_sync(self._spec["checkpoints"])
            keeper.fetch()
            self._checkpoints = keeper

    def _checkpoint_sync(self, told: dict[str, Any]) -> CheckpointSync:
        return CheckpointSync(
            self._connection,
            told["folder"],
            decides=told["decides"],
            note=self._note,
            max_file_bytes=self._spec.get("max_file_bytes"),
        )

    def _pass_barrier(self) -> None:
        """Report that all is in place, and wait until it is so everywhere."""
        ready = {"pid": os.getpid(), "host": os.uname().nodename}
        answer = self._connection.call(self._http, "POST", "ready", ready)
        waits = 0
        while not answer["go"]:
            if answer["stop"]:
                raise StoppedBeforeStart
            time.sleep(BARRIER_PAUSES[min(waits, len(BARRIER_PAUSES) - 1)])
            waits += 1
            self._connection.check()
            beat = {"state": "ready", "usage": None, "log_size": 0}
            answer = self._connection.call(self._http, "POST", "beat", beat)

    def _variables(self) -> dict[str, str]:
        """Return the program's environment: ours, the target's, then what the run asked for."""
        variables = {k: v for k, v in os.environ.items() if k not in RUNNER_ONLY_VARIABLES}
        binaries = self._settings["bin"]
        if binaries:
            variables["VIRTUAL_ENV"] = os.path.dirname(binaries)
            variables["PATH"] = f"{binaries}:{variables.get('PATH', os.defpath)}"
        variables["PYTHONUNBUFFERED"] = "1"
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(self._settings["gpus"])
        variables.update(self._settings["environment"])
        variables.update(self._spec["environment"])
        variables.update(write_secrets(self.folder, self._secrets))
        variables[DIRECTORY_VARIABLE] = self.folder.path
        variables["TRAINYARD_GROUP"] = self._settings["group"]
        variables["TRAINYARD_PROCESS"] = self._settings["name"]
        return variables

    def _start_shipping(self, *, is_resumed: bool = False) -> None:
        touch(self.folder.spool)
        self._logs = LogUploader(self._connection, self.folder.spool, is_resumed=is_resumed)
        self._files = FileUploader(
            self._connection,
            self.folder.work,
            watch=self._spec.get("watch", [LOGS_DIRECTORY]),
            outputs=self._spec.get("outputs", True),
            is_resumed=is_resumed,
            note=self._note,
            max_file_bytes=self._spec.get("max_file_bytes"),
        )
        self._logs.start()
        self._files.start()
        if self._checkpoints is not None:
            self._checkpoints.start()
        if self._spec.get("mpi"):
            self._ranks = RankLogUploader(
                self._connection, self.folder.ranks, is_resumed=is_resumed
            )
            self._ranks.start()

    def _wait(self, child: int) -> Termination:
        """Wait for the program, and end it when it is told to stop or takes too much memory."""
        limit = self._spec.get("memory_bytes")
        every = MEMORY_SECONDS if limit else SAMPLE_SECONDS
        forced: Termination | None = None
        kill_at, measured_at = float("inf"), float("-inf")
        counts_own_kills = procfs.container_oom_kills() is not None
        kernel_kills = 0 if counts_own_kills else procfs.oom_kills()
        while True:
            ended = program.reap()
            if child in ended:
                break
            now = time.monotonic()
            if now - measured_at >= SAMPLE_SECONDS:
                self._usage_sampler.sample()
                self._connection.notice_removal()
                measured_at = now
                if self._connection.is_abandoned():
                    forced = server_timeout_exceeded(self._connection.server_timeout_seconds)
                if not counts_own_kills:
                    kernel_kills = procfs.oom_kills()
            if limit and (used := self._usage_sampler.memory()) > limit:
                forced = memory_limit_exceeded(used, limit)
            elif now >= kill_at:
                forced = grace_period_exceeded(self._grace_seconds())
            if forced or self._connection.is_fenced.is_set():
                ended = program.kill_all()
                break
            signalled = signal.sigtimedwait(HANDLED, max(0.0, min(every, kill_at - now)))
            if signalled and signalled.si_signo in (signal.SIGTERM, signal.SIGINT):
                if not self._was_stopped:
                    program.signal_group(child, signal.SIGTERM)
                self._was_stopped = True
                kill_at = min(kill_at, time.monotonic() + self._grace_seconds())
        kernel_killed = procfs.oom_kills() > kernel_kills
        ended.update(program.kill_all())
        if forced or child not in ended:
            return forced or Termination(KILLED, "was killed")
        ending = termination_of(ended[child], self.folder.spool, kernel_killed=kernel_killed)
        if ending.exit_code and self._spec.get("mpi"):
            ending.reason = mpi.mpi_failure_reason(self.folder) or ending.reason
        return ending

    def _grace_seconds(self) -> float:
        """Return the grace that whoever stops us left in the folder, or the group's own."""
        try:
            left = float(read_tail(self.folder.grace, GRACE_BYTES))
        except ValueError:
            left = math.nan
        return left if math.isfinite(left) else float(self._spec["grace_seconds"])

    def _store_grace(self, seconds: float) -> None:
        """Keep the grace that came over the line, where nobody left one in the folder."""
        if not os.path.exists(self.folder.grace):
            write_text(self.folder.grace, str(seconds))

    def _beat(self, child: int) -> None:
        """Report life and usage, and pass on what the answers ask for."""
        wire = self._connection.open()
        gpus = GpuUsageSampler(self._settings["gpus"])
        try:
            self._report(wire, "started", {"pid": child})
            while not self._ended.wait(self._spec["heartbeat_seconds"]):
                usage = {**self._usage_sampler.usage, **gpus.usage()}
                beat = {"state": "running", "usage": usage, "log_size": self._log_size()}
                answer = self._report(wire, "beat", beat)
                if answer and answer["stop"]:
                    self._store_grace(answer["grace_seconds"])
                    os.kill(os.getpid(), signal.SIGTERM)
        except ProcessFenced:
            os.kill(os.getpid(), signal.SIGUSR1)

    def _finalize(self, ending: Termination, *, is_resumed: bool = False) -> None:
        """Write down how it ended, so that it is known whatever happens next; ship and report.

        A program may have spoiled any file in its runner's folder; what arrives does without.
        """
        self._ended.set()
        remove_secrets(self.folder)
        self._connection.set_deadline()
        if self._logs is None or self._files is None:
            self._start_shipping(is_resumed=is_resumed)
        if self._logs is None or self._files is None:
            raise RuntimeError("nothing ships the log")
        record = {**vars(ending), "log_size": self._log_size()}
        try:
            write_json(self.folder.exit_record, record)
        except OSError as error:  # it is still reported, while this runner lives
            sys.stderr.write(f"How the program ended is not written down: {error}\n")
        self._files.end()
        self._report(self._http, "exit", record)
        for uploader in (self._files, self._checkpoints, self._ranks, self._logs):
            if uploader is not None:
                self._finish(uploader)
        if self._report(self._http, "collected", {}) is not None:
            touch(self.folder.collected)

    def _finish(self, uploader: Uploader) -> None:
        """Wait until all is stored; what fails for good is noted, and the rest is stored."""
        try:
            uploader.finish()
        except (ProcessFenced, ServerTimeout):
            raise
        except Exception as problem:
            self._note(f"{uploader.name} may not be kept whole: {problem}")

    def _report(self, wire: HttpClient, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Report to the server; None for a report that it refuses, which nothing waits for."""
        try:
            return self._connection.call(wire, "POST", what, body)
        except RequestRefused as refused:
            sys.stderr.write(f"POST {what} was refused: {refused}\n")
            return None

    def _log_size(self) -> int:
        try:
            return os.stat(self.folder.spool).st_size
        except FileNotFoundError:
            return 0

    def _note(self, text: str) -> None:
        """Write a line for the user into the log of the process."""
        sys.stderr.write(f"{text}\n")
        try:
            append_note(self.folder.spool, text)
        except OSError as error:
            sys.stderr.write(f"The line above is not in the log: {error}\n")


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise StoppedBeforeStart
