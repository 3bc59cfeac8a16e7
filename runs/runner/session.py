"""One process of a group from its start to its end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from runs.runner import mpi, peers, procfs, program
from runs.runner.checkpoints import CheckpointKeeper
from runs.runner.ending import KILLED, Ending, ending_of, out_of_grace, over_limit
from runs.runner.files import FileShipper
from runs.runner.folder import Folder, mark, read_json, write_json
from runs.runner.line import Line
from runs.runner.meter import GpuMeter, Meter
from runs.runner.rank_logs import RankLogs
from runs.runner.shipping import LogShipper
from runs.runner.source import make_read_only, unpack
from runs.runner.wire import Fenced, Unreachable

BARRIER_PAUSES = (0.02, 0.05, 0.1, 0.2)
MEASURE_SECONDS = 1.0
MEMORY_SECONDS = 0.2
FIRST_OF_A_CONTAINER = 1
STOPPED = 128 + int(signal.SIGTERM)
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)
RUNNERS_OWN = ("TRAINYARD_URL", "TRAINYARD_PROCESS_TOKEN")


class Stopped(Exception):
    """The runner was told to stop before the program started."""


class Session:
    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        settings = read_json(folder.settings)
        if settings is None:
            raise FileNotFoundError(folder.settings)
        self._settings = settings
        self._line = Line(settings["url"], settings["token"], settings["ca_bundle"])
        self._wire = self._line.open()
        self._spec: dict[str, Any] = {}
        self._over = threading.Event()
        self._meter = Meter()
        self._logs: LogShipper | None = None
        self._files: FileShipper | None = None
        self._ranks: RankLogs | None = None
        self._checkpoints: CheckpointKeeper | None = None
        self._was_stopped = False

    def run(self) -> None:
        """Fetch the source, wait for the others, run the program, ship what it leaves."""
        program.adopt_orphans()
        if os.getpid() == FIRST_OF_A_CONTAINER:
            program.renounce_privileges()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        try:
            self._prepare()
            # Before the barrier: one that is done soon takes its name with it.
            peers.wait_for_names(self._spec["peers"], self._note)
            self._pass_barrier()
            time.sleep(self._spec["head_start_seconds"])
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        except Stopped:
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
            self._wire.close()
            ending = Ending(STOPPED, "was stopped before it started")
            ending.was_stopped = True
            self._deliver(ending)
            return
        mark(self.folder.launched)
        command, variables = self._spec["command"], self._variables()
        if self._spec.get("mpi"):
            write_json(self.folder.variables, variables)
            command = mpi.command_of(self.folder, self._spec["mpi"])
        try:
            child = program.start(command, variables, self.folder.work, self.folder.spool)
        except program.CannotStart as problem:
            self._note(f"cannot start {command[0]}: {problem}")
            self._deliver(Ending(program.NOT_FOUND, f"could not start {command[0]}: {problem}"))
            return
        self._start_shipping()
        threading.Thread(target=self._beat, args=(child,), name="beat", daemon=True).start()
        ending = self._wait(child)
        ending.was_stopped = self._was_stopped
        self._deliver(ending)

    def finish(self) -> None:
        """Ship what a runner that was killed left behind, once nothing of its program lives."""
        own = f"TRAINYARD_RUNNER_DIR={self.folder.path}\0".encode()
        while strays := procfs.carrying(own):
            for stray in strays:
                procfs.send(stray, signal.SIGKILL)
            time.sleep(0.01)
        self._spec = read_json(self.folder.spec) or {}
        recorded = read_json(self.folder.ending)
        if recorded:
            ending = Ending(recorded["exit_code"], recorded["reason"])
            ending.out_of_memory = recorded["out_of_memory"]
            ending.was_stopped = recorded.get("was_stopped", False)
        else:
            was_launched = os.path.exists(self.folder.launched)
            how = (
                "was killed with its runner"
                if was_launched
                else "never started: its runner was killed"
            )
            ending = Ending(KILLED, how)
        self._deliver(ending, is_resumed=True)

    def _prepare(self) -> None:
        self._spec = self._line.call(self._wire, "GET", "spec")
        if self._spec.get("resume"):
            self._spec["command"] += ["--resume-from", self.folder.resume]
            self._spec["environment"]["TRAINYARD_RESUME_FROM"] = self.folder.resume
        write_json(self.folder.spec, self._spec)
        for name in ("outputs", *self._spec["watch"]):
            os.makedirs(os.path.join(self.folder.work, name), exist_ok=True)
        if self._spec["source"]:
            self._line.insist(lambda: self._fetch("source", self.folder.work))
        if self._spec.get("resume"):
            os.makedirs(self.folder.resume, exist_ok=True)
            self._line.insist(lambda: self._fetch("resume", self.folder.resume))
            make_read_only(self.folder.resume)
        if self._spec.get("checkpoints"):
            keeper = self._keeper(self._spec["checkpoints"])
            keeper.fetch()
            self._checkpoints = keeper

    def _keeper(self, told: dict[str, Any]) -> CheckpointKeeper:
        return CheckpointKeeper(
            self._line, told["folder"], decides=told["decides"], note=self._note
        )

    def _fetch(self, what: str, folder: str) -> None:
        tar = self._wire.download(what)
        try:
            unpack(tar.read, folder)
        except OSError as error:
            self._wire.close()
            raise Unreachable(f"GET {what}: {error}") from error

    def _pass_barrier(self) -> None:
        """Report that all is in place, and wait until it is so everywhere."""
        ready = {"pid": os.getpid(), "host": os.uname().nodename}
        answer = self._line.call(self._wire, "POST", "ready", ready)
        waits = 0
        while not answer["go"]:
            if answer["stop"]:
                raise Stopped
            time.sleep(BARRIER_PAUSES[min(waits, len(BARRIER_PAUSES) - 1)])
            waits += 1
            beat = {"state": "ready", "usage": None, "log_size": 0}
            answer = self._line.call(self._wire, "POST", "beat", beat)

    def _variables(self) -> dict[str, str]:
        """Give the program's environment: ours, the target's, then what the run asked for."""
        variables = {k: v for k, v in os.environ.items() if k not in RUNNERS_OWN}
        binaries = self._settings["bin"]
        if binaries:
            variables["VIRTUAL_ENV"] = os.path.dirname(binaries)
            variables["PATH"] = f"{binaries}:{variables.get('PATH', os.defpath)}"
        variables["PYTHONUNBUFFERED"] = "1"
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(self._settings["gpus"])
        variables.update(self._settings["environment"])
        variables.update(self._spec["environment"])
        variables["TRAINYARD_RUNNER_DIR"] = self.folder.path
        variables["TRAINYARD_GROUP"] = self._settings["group"]
        variables["TRAINYARD_PROCESS"] = self._settings["name"]
        return variables

    def _start_shipping(self, *, is_resumed: bool = False) -> None:
        mark(self.folder.spool)
        self._logs = LogShipper(self._line, self.folder.spool, is_resumed=is_resumed)
        self._files = FileShipper(
            self._line,
            self.folder.work,
            watch=self._spec.get("watch", ["logs"]),
            outputs=self._spec.get("outputs", True),
            is_resumed=is_resumed,
            note=self._note,
        )
        self._logs.start()
        self._files.start()
        if self._checkpoints is not None:
            self._checkpoints.start()
        if self._spec.get("mpi"):
            self._ranks = RankLogs(self._line, self.folder.ranks, is_resumed=is_resumed)
            self._ranks.start()

    def _wait(self, child: int) -> Ending:
        """Wait for the program, and end it when it is told to stop or takes too much memory."""
        limit = self._spec.get("memory_bytes")
        every = MEMORY_SECONDS if limit else MEASURE_SECONDS
        forced: Ending | None = None
        kill_at, measured_at = float("inf"), float("-inf")
        counts_own_kills = procfs.own_oom_kills() is not None
        kernel_kills = 0 if counts_own_kills else procfs.oom_kills()
        while True:
            ended = program.reap()
            if child in ended:
                break
            now = time.monotonic()
            if now - measured_at >= MEASURE_SECONDS:
                self._meter.measure()
                measured_at = now
                if not counts_own_kills:
                    kernel_kills = procfs.oom_kills()
            if limit and (used := self._meter.memory()) > limit:
                forced = over_limit(used, limit)
            elif now >= kill_at:
                forced = out_of_grace(self._grace_seconds())
            if forced or self._line.is_fenced.is_set():
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
            return forced or Ending(KILLED, "was killed")
        ending = ending_of(ended[child], self.folder.spool, kernel_killed=kernel_killed)
        if ending.exit_code and self._spec.get("mpi"):
            ending.reason = mpi.reason_in(self.folder) or ending.reason
        return ending

    def _grace_seconds(self) -> float:
        """Give the grace that whoever stops us left in the folder, or the group's own."""
        try:
            with open(self.folder.grace, encoding="ascii") as file:
                return float(file.read())
        except (FileNotFoundError, ValueError):
            return float(self._spec["grace_seconds"])

    def _take_grace(self, seconds: float) -> None:
        """Keep the grace that came over the line, where nobody left one in the folder."""
        if not os.path.exists(self.folder.grace):
            with open(self.folder.grace, "w", encoding="ascii") as file:
                file.write(str(seconds))

    def _beat(self, child: int) -> None:
        """Report life and usage, and pass on what the answers ask for."""
        wire = self._line.open()
        gpus = GpuMeter(self._settings["gpus"])
        try:
            self._line.call(wire, "POST", "started", {"pid": child})
            while not self._over.wait(self._spec["heartbeat_seconds"]):
                usage = {**self._meter.usage, **gpus.usage()}
                size = os.stat(self.folder.spool).st_size
                beat = {"state": "running", "usage": usage, "log_size": size}
                answer = self._line.call(wire, "POST", "beat", beat)
                if answer["stop"]:
                    self._take_grace(answer["grace_seconds"])
                    os.kill(os.getpid(), signal.SIGTERM)
        except Fenced:
            os.kill(os.getpid(), signal.SIGUSR1)

    def _deliver(self, ending: Ending, *, is_resumed: bool = False) -> None:
        """Write down how it ended, so that it is known whatever happens next; ship and report."""
        self._over.set()
        self._line.set_deadline()
        if self._logs is None or self._files is None:
            self._start_shipping(is_resumed=is_resumed)
        if self._logs is None or self._files is None:
            raise RuntimeError("nothing ships the log")
        size = os.stat(self.folder.spool).st_size
        record = {**vars(ending), "log_size": size}
        write_json(self.folder.ending, record)
        self._files.end()
        self._line.call(self._wire, "POST", "exit", record)
        self._files.finish()
        if self._checkpoints is not None:
            self._checkpoints.finish()
        self._logs.finish()
        if self._ranks is not None:
            self._ranks.finish()
        self._line.call(self._wire, "POST", "collected")
        mark(self.folder.collected)

    def _note(self, text: str) -> None:
        """Say something to the user, in the log of the process."""
        with open(self.folder.spool, "ab") as spool:
            spool.write(f"[trainyard] {text}\n".encode())
        sys.stderr.write(f"{text}\n")


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Stopped
