"""Run one process of a group: fetch its source, wait for the others, start it, ship its output.

`python -I -S .../runs/runner/__main__.py FOLDER [--finish]`. The folder holds runner.json: url,
token, ca_bundle, group, name and bin (the folder of the environment's Python). With --finish the
program is known to be gone, and only what the folder still holds is shipped.
"""

import fcntl
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from runs.runner.client import Client, Fenced, GaveUp
from runs.runner.program import Ending, Program
from runs.runner.shipping import FileShipper, LogShipper
from runs.runner.source import unpack
from runs.runner.usage import Meter

KEEP_TRYING_SECONDS = 24 * 3600
BARRIER_PAUSES = (0.02, 0.05, 0.1, 0.2)
KILLED_RUNNER = Ending(137, "was killed together with its runner")
CANNOT_START = 127


class Runner:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work, self.spool = folder / "work", folder / "spool.log"
        self.settings: dict[str, str] = json.loads((folder / "runner.json").read_text())
        self.stop_asked = threading.Event()
        self.fenced = threading.Event()
        self._ended_at: float | None = None
        self.client = Client(
            self.settings["url"], self.settings["token"], self.settings["ca_bundle"], self._patient
        )
        self.program: Program | None = None
        self.grace_seconds = 30.0

    def _patient(self) -> bool:
        """Keep trying while the program runs, and for a day after it; not when told to stop."""
        if self._ended_at is not None:
            return time.monotonic() - self._ended_at < KEEP_TRYING_SECONDS
        return self.program is not None or not self.stop_asked.is_set()

    def ask_to_stop(self, signum: int, frame: FrameType | None) -> None:
        self.stop_asked.set()

    def run(self) -> None:
        spec = self.client.call("GET", "spec")
        self.grace_seconds = spec["grace_seconds"]
        self._prepare(spec)
        if not self._pass_barrier():
            self._conclude(spec, Ending(143, "was stopped before it started"))
            return
        try:
            self.program = Program(spec["command"], self._environment(spec), self.work, self.spool)
        except OSError as error:
            self._note(f"cannot start {spec['command'][0]}: {error}")
            reason = f"could not be started: {error.strerror}"
            self._conclude(spec, Ending(CANNOT_START, reason))
            return
        logs, files = self._shippers(spec)
        logs.start()
        files.start()
        threading.Thread(target=self._beat, args=(spec,), daemon=True).start()
        threading.Thread(target=self._stop_when_asked, daemon=True).start()
        ending = self.program.wait()
        self._report(ending)
        self._collect(logs, files)

    def finish(self) -> None:
        """Ship what a runner that was killed left behind."""
        spec = self.client.call("GET", "spec")
        self._conclude(spec, self._recorded_ending() or KILLED_RUNNER)

    def _prepare(self, spec: dict[str, Any]) -> None:
        for name in ("logs", "outputs"):
            (self.work / name).mkdir(parents=True, exist_ok=True)
        self.spool.touch(mode=0o600)
        if spec["source"]:
            self.client.download("source", lambda stream: unpack(stream, self.work))

    def _pass_barrier(self) -> bool:
        """Report ready and wait until all others are; False when told to stop instead."""
        answer = self.client.call(
            "POST", "ready", {"pid": os.getpid(), "host": os.uname().nodename}
        )
        waits = 0
        while not answer["go"]:
            if answer["stop"] or self.stop_asked.is_set():
                return False
            time.sleep(BARRIER_PAUSES[min(waits, len(BARRIER_PAUSES) - 1)])
            waits += 1
            answer = self.client.call("POST", "beat", {"state": "ready", "usage": None})
        return not self.stop_asked.is_set()

    def _environment(self, spec: dict[str, Any]) -> dict[str, str]:
        environment = dict(os.environ)
        if self.settings["bin"]:
            environment["VIRTUAL_ENV"] = str(Path(self.settings["bin"]).parent)
            environment["PATH"] = f"{self.settings['bin']}:{environment.get('PATH', os.defpath)}"
        environment["PYTHONUNBUFFERED"] = "1"
        environment.update(spec["environment"])
        return environment

    def _shippers(self, spec: dict[str, Any]) -> tuple[LogShipper, FileShipper]:
        files = FileShipper(self.client, self.work, self.spool, outputs=spec["outputs"])
        return LogShipper(self.client, self.spool), files

    def _beat(self, spec: dict[str, Any]) -> None:
        """Report life and usage; carry out what the answers ask for."""
        assert self.program is not None  # noqa: S101
        try:
            self.client.call("POST", "started", {"pid": self.program.pid})
            meter = Meter()
            limit = spec.get("memory_bytes")
            while True:
                usage = meter.measure(self.program.tree())
                used = usage["memory_bytes"] or 0
                if limit and used > limit:
                    self.program.overran(
                        f"it used {used / 1e9:.2f} GB of the {limit / 1e9:.2f} GB allowed"
                    )
                answer = self.client.call("POST", "beat", {"state": "running", "usage": usage})
                if answer["stop"]:
                    self.stop_asked.set()
                self.stop_asked.wait(spec["heartbeat_seconds"])
                if self.stop_asked.is_set():
                    time.sleep(spec["heartbeat_seconds"])
        except Fenced:
            self.fenced.set()
            self.program.kill()
        except GaveUp:
            return

    def _stop_when_asked(self) -> None:
        assert self.program is not None  # noqa: S101
        self.stop_asked.wait()
        grace = self.grace_seconds
        asked = self.folder / "grace"
        if asked.exists():
            grace = float(asked.read_text())
        self.program.stop(grace)

    def _conclude(self, spec: dict[str, Any], ending: Ending) -> None:
        """Report an ending that needed no waiting, and ship what there is."""
        self._report(ending)
        logs, files = self._shippers(spec)
        logs.start()
        self._collect(logs, files)

    def _report(self, ending: Ending) -> None:
        record = self.folder / "exit.json"
        draft = self.folder / "exit.json.new"
        with open(draft, "w") as file:
            json.dump(vars(ending), file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(record)
        self._ended_at = time.monotonic()
        if self.fenced.is_set():
            raise Fenced("fenced while running")
        self.client.call("POST", "exit", vars(ending) | {"log_size": self.spool.stat().st_size})

    def _collect(self, logs: LogShipper, files: FileShipper) -> None:
        files.finish()
        logs.finish()
        self.client.call("POST", "collected")
        (self.folder / "collected").touch()

    def _recorded_ending(self) -> Ending | None:
        try:
            return Ending(**json.loads((self.folder / "exit.json").read_text()))
        except FileNotFoundError:
            return None

    def _note(self, text: str) -> None:
        with open(self.spool, "ab") as spool:
            spool.write(f"trainyard: {text}\n".encode())


def main(folder: Path, *, finish: bool) -> int:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0  # The one that holds it does the work.
    if (folder / "exit.json").exists() and not finish:
        return 0
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    (folder / "pid").write_text(f"{os.getpid()} {started}\n")
    runner = Runner(folder)
    signal.signal(signal.SIGTERM, runner.ask_to_stop)
    try:
        runner.finish() if finish else runner.run()
    except (Fenced, GaveUp) as error:
        if runner.program is not None:
            runner.program.kill()
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), finish="--finish" in sys.argv[2:]))
