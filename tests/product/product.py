"""A whole Trainyard of its own, used as its users do: over REST, websockets, and with kill -9."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.config.server.launched import CLEAN, ROOT, LaunchedProduct, is_alive
from tests.product.database import Database
from tests.product.sources import Source, packed
from tests.waiting import wait_for
from workspace.compute.local.ports import free_port

logging.getLogger("httpx").setLevel(logging.WARNING)
PASSWORD = "a-password-of-the-tests"
OVER = {"Completed", "Failed", "Canceled"}
BOOT_SECONDS = 180
PARTS = {"web", "supervisor", "worker-1", "worker-2", "worker-3", "worker-4", "broker"}
RUNNER = "runner/__main__.py"


@dataclass(frozen=True)
class Living:
    """A process of a run: its runner, or what runs below it."""

    pid: int
    process: str
    is_runner: bool


class Product:
    def __init__(
        self,
        folder: Path,
        variables: Mapping[str, str] | None = None,
        database_server: str | None = None,
    ) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self._folder = folder
        self._database = Database(database_server)
        self._environment = {
            "TRAINYARD_HOME": str(self.home),
            "TRAINYARD_PORT": str(free_port(())),
            "TRAINYARD_GRPC_PORT": "0",
            "TRAINYARD_ADMIN_PASSWORD": PASSWORD,
            **self._database.variables,
            **(variables or {}),
        }
        self.url = f"http://127.0.0.1:{self._environment['TRAINYARD_PORT']}"
        self._launched: LaunchedProduct | None = None
        self._token = ""
        self.http = httpx.Client(base_url=f"{self.url}/api/v1", timeout=60)

    def start(self) -> None:
        """Start everything, unless it runs, and return when it is healthy."""
        if self._launched is None or self._launched.process.poll() is not None:
            self._launched = LaunchedProduct(
                self._folder, "-m", "config.server.launch", environment=self._environment
            )
        wait_for(self.is_healthy, "the product to be healthy", BOOT_SECONDS)

    def stop(self) -> int:
        return self.launched.stop()

    def end(self) -> None:
        """Leave nothing: no part, and no process of a run."""
        self.http.close()
        if self._launched is not None:
            self._launched.end()
        for living in self._living(f"TRAINYARD_RUNNER_DIR={self.home}/"):
            _kill(living.pid)
        self._database.drop()

    @property
    def launched(self) -> LaunchedProduct:
        assert self._launched is not None, "the product was not started"
        return self._launched

    def is_healthy(self) -> bool:
        assert self.launched.process.poll() is None, self.launched.said
        try:
            return httpx.get(f"{self.url}/api/v1/health", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def part(self, name: str) -> int:
        """Return the process id of a part, waiting for one that is being started again."""
        return wait_for(lambda: self._parts().get(name), f"{name} to run", 30)

    def kill(self, name: str) -> None:
        """kill -9 a part, as soon as it runs."""
        pid = self.part(name)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(pid), f"the end of {name}")

    def kill_everything(self) -> None:
        """kill -9 the launcher and all parts at once; runs and services go on."""
        pids = [self.launched.process.pid, *self._parts().values()]
        for pid in pids:
            _kill(pid)
        self.launched.process.wait(30)
        wait_for(lambda: not any(map(is_alive, pids)), "the end of all parts")

    def _parts(self) -> dict[str, int]:
        return {name: pid for name, pid in self.launched.parts().items() if name in PARTS}

    @property
    def token(self) -> str:
        if not self._token:
            self._token = self.manage("token", "admin").split()[-1]
        return self._token

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a command that works on this product."""
        return {**CLEAN, **self._environment}

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def managing(self, *arguments: str) -> Iterator[LaunchedProduct]:
        """Run a management command beside the product, until the end of the block."""
        launched = LaunchedProduct(
            self._folder, "manage.py", *arguments, environment=self._environment
        )
        try:
            yield launched
        finally:
            launched.end()

    def call(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Call the REST API of the team."""
        headers = {"Authorization": f"Bearer {self.token}", **content.pop("headers", {})}
        return self.http.request(method, f"/teams/default{path}", headers=headers, **content)

    def get(self, path: str, **content: Any) -> Any:
        return _json_of(self.call("GET", path, **content))

    def post(self, path: str, body: object) -> Any:
        return _json_of(self.call("POST", path, json=body))

    def patiently(self, path: str) -> Any:
        """Get something while the web process may be away."""
        answers: list[Any] = []

        def ask() -> bool:
            try:
                answers.append(self.get(path))
            except httpx.TransportError:
                return False
            return True

        wait_for(ask, f"an answer to {path}", 60)
        return answers[0]

    def send_run(self, source: Source, config: object, **fields: Any) -> httpx.Response:
        text = config if isinstance(config, str) else json.dumps(config)
        archive = source if isinstance(source, bytes) else packed(source)
        return self.call(
            "POST",
            "/runs",
            files={"source": ("source.zip", archive)},
            data={"config": text},
            **fields,
        )

    def submit(self, source: Source, **config: Any) -> int:
        """Submit a run of train.py, of one process that needs little, unless `config` says more."""
        answer = self.send_run(
            source,
            {"experiment": "tests", "entry_script": "train.py", "cpus_per_process": 0.05, **config},
        )
        assert answer.status_code == 201, answer.text
        number: int = answer.json()["number"]
        return number

    def run(self, number: int) -> dict[str, Any]:
        run: dict[str, Any] = self.patiently(f"/runs/{number}")
        return run

    def wait_for_status(self, number: int, *wanted: str, seconds: float = 180) -> dict[str, Any]:
        """Return the run when it has one of these statuses; fail when it ends with another."""
        deadline = time.monotonic() + seconds
        while (run := self.run(number))["status"] not in wanted:
            assert run["status"] not in OVER, f"run {number} ended: {run['end_detail']}"
            assert time.monotonic() < deadline, f"run {number} stays: {run}\n{self.launched.said}"
            time.sleep(0.05)
        return run

    def wait_for_end(self, number: int, seconds: float = 180) -> dict[str, Any]:
        return self.wait_for_status(number, *OVER, seconds=seconds)

    def cancel(self, number: int) -> httpx.Response:
        return self.call("POST", f"/runs/{number}/cancel")

    def log(self, number: int, process: str = "worker-0") -> bytes:
        """Return a whole log, by the offsets that a client is told to go on from."""
        whole = b""
        while True:
            answer = self.call("GET", f"/runs/{number}/logs/{process}?offset={len(whole)}")
            assert answer.status_code == 200, answer.text
            whole += answer.content
            assert int(answer.headers["X-Next-Offset"]) == len(whole)
            if not answer.content:
                return whole

    def wait_for_words(self, number: int, process: str = "worker-0") -> None:
        """Wait until a process of a run printed something."""

        def words() -> bytes:
            answer = self.call("GET", f"/runs/{number}/logs/{process}")
            return answer.content if answer.status_code == 200 else b""

        wait_for(words, f"{process} of run {number} to print", 60)

    @contextmanager
    def watch(self, number: int, offsets: Mapping[str, int]) -> Iterator[ClientConnection]:
        """Open the websocket of a run, as its page does."""
        query = httpx.QueryParams({"offsets": json.dumps(offsets)})
        with connect(
            f"{self.url.replace('http', 'ws', 1)}/ws/teams/default/runs/{number}/?{query}",
            origin=Origin(self.url),
            additional_headers={"Authorization": f"Bearer {self.token}"},
            max_size=None,
        ) as socket:
            yield socket

    def living(self, number: int) -> list[Living]:
        """Find in /proc what lives of a run: runners, programs, and whatever they left behind."""
        return self._living(f"TRAINYARD_RUNNER_DIR={self.home}/local/run-{number}-")

    def living_runs(self) -> list[Living]:
        """Find in /proc what lives of all runs."""
        return self._living(f"TRAINYARD_RUNNER_DIR={self.home}/local/run-")

    def living_replicas(self) -> list[Living]:
        """Find in /proc what lives of all services."""
        return self._living(f"TRAINYARD_RUNNER_DIR={self.home}/local/service-")

    def runner(self, number: int, process: str = "worker-0") -> int:
        def found() -> list[int]:
            living = self.living(number)
            return [one.pid for one in living if one.is_runner and one.process == process]

        return wait_for(found, f"the runner of {process}")[0]

    def _living(self, mark: str) -> list[Living]:
        return [
            Living(pid, variables.rpartition("/")[2], is_runner)
            for pid, variables, is_runner in _marked(mark)
        ]


def _marked(mark: str) -> Iterator[tuple[int, str, bool]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            command = (folder / "cmdline").read_text(errors="replace")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith(mark) and is_alive(int(folder.name)):
                yield int(folder.name), variable, RUNNER in command
                break


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _json_of(answer: httpx.Response) -> Any:
    assert answer.is_success, f"{answer.request.url}: {answer.status_code} {answer.text}"
    return answer.json()
