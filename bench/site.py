"""A whole Trainyard of its own, started as `make run` starts it, and used as its users do."""

import http.client
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from runner.constants import DIRECTORY_VARIABLE
from runner.procfs import processes_with_variable, send_signal

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).resolve().parent / "programs"
API = "/api/v1/teams/default"
BOOT_SECONDS = 60.0
RUN_SECONDS = 600.0
IDLE_SECONDS = 10.0
OVER = {"Completed", "Failed", "Canceled"}


class Site:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._launcher: subprocess.Popen[bytes] | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._called_at = 0.0
        self._token = ""

    @property
    def pid(self) -> int:
        if self._launcher is None:
            raise RuntimeError("The site is not running.")
        return self._launcher.pid

    def start(self) -> None:
        """Start everything and return when it is healthy."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "launch.log").open("ab") as log:
            self._launcher = subprocess.Popen(
                [sys.executable, "-m", "config.server.launch"],
                cwd=ROOT,
                env=self._variables(),
                stdout=log,
                stderr=log,
            )
        until(self._is_healthy, "Trainyard is healthy", BOOT_SECONDS, every=0.01)

    def _hang_up(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def stop(self) -> None:
        self._hang_up()
        if self._launcher and self._launcher.poll() is None:
            self._launcher.send_signal(signal.SIGTERM)
            self._launcher.wait(60)
        self._launcher = None

    def end(self) -> None:
        """Stop everything, with the runs and services that would outlive it."""
        self.stop()
        for left in processes_with_variable(f"{DIRECTORY_VARIABLE}={self.home}/".encode()):
            send_signal(left, signal.SIGKILL)

    def call(self, method: str, path: str, body: bytes = b"", kind: str = "") -> Any:
        """Call the REST API of the team and give the JSON answer."""
        return json.loads(self.fetch(method, API + path, body, kind))

    def post(self, path: str, body: object) -> Any:
        return self.call("POST", path, json.dumps(body).encode(), "application/json")

    def fetch(self, method: str, path: str, body: bytes = b"", kind: str = "") -> bytes:
        headers = {"Authorization": f"Bearer {self.token}"}
        if kind:
            headers["Content-Type"] = kind
        # The web process parts with who has been silent for long.
        if time.monotonic() - self._called_at > IDLE_SECONDS:
            self._hang_up()
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        self._called_at = time.monotonic()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:2000].decode()}")
        return content

    def submit(self, program: str, /, *arguments: str, **config: Any) -> int:
        """Submit one of the programs of the benchmark and give the run's number."""
        form, kind = submission(program, *arguments, **config)
        number: int = self.call("POST", "/runs", form, kind)["number"]
        return number

    def wait(self, number: int, *, to_end_as: str = "Completed") -> None:
        """Return when a run is over; how it ended must be as expected."""
        with self.watch(number) as socket:
            status = ""
            while status not in OVER:
                message = json.loads(socket.recv(timeout=RUN_SECONDS))
                status = message["status"] if message["type"] == "run.status" else status
        if status != to_end_as:
            run = self.call("GET", f"/runs/{number}")
            raise RuntimeError(f"Run {number} ended {status}: {run['end_detail']}")

    def log(self, number: int) -> bytes:
        """Return the whole log of a run of one process."""
        pieces: list[bytes] = []
        offset = 0
        while piece := self.fetch("GET", f"{API}/runs/{number}/logs/worker-0?offset={offset}"):
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    def watch(self, number: int, **offsets: int) -> ClientConnection:
        """Open the websocket of a run, as its page does."""
        return connect(
            self.watching_url(number, **offsets),
            origin=Origin(self.url),
            additional_headers={"Authorization": f"Bearer {self.token}"},
            compression=None,
            max_size=None,
        )

    def watching_url(self, number: int, **offsets: int) -> str:
        asked = {name.replace("_", "-"): offset for name, offset in offsets.items()}
        query = urllib.parse.quote(json.dumps(asked))
        return f"ws://127.0.0.1:{self.port}/ws/teams/default/runs/{number}/?offsets={query}"

    @property
    def token(self) -> str:
        if not self._token:
            said = subprocess.run(
                [sys.executable, "manage.py", "token", "admin", "--name", "bench"],
                cwd=ROOT,
                env=self._variables(),
                check=True,
                capture_output=True,
                text=True,
            )
            self._token = said.stdout.split()[-1]
        return self._token

    def python(self) -> str:
        """Return the Python of the environment that runs have, for the same without Trainyard."""
        found = sorted((self.home / "environments").glob("*/bin/python"))
        return str(found[0])

    def _is_healthy(self) -> bool:
        if self._launcher is None or self._launcher.poll() is not None:
            log = (self.home / "launch.log").read_text()
            raise RuntimeError(f"Trainyard did not start:\n{log[-4000:]}")
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/health", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def _variables(self) -> dict[str, str]:
        own = ("DATABASE_URL", "REDIS_URL", "TRAINYARD_", "SECRET_KEY", "ALLOWED_HOSTS", "DEBUG")
        others = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        return others | {
            "TRAINYARD_HOME": str(self.home),
            "TRAINYARD_PORT": str(self.port),
            "TRAINYARD_GRPC_PORT": "0",
            "TRAINYARD_ADMIN_PASSWORD": secrets.token_urlsafe(12),
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }


def submission(program: str, /, *arguments: str, **config: Any) -> tuple[bytes, str]:
    """Return the multipart form that submits a program, and its content type."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(PROGRAMS / f"{program}.py", "train.py")
    configuration: Mapping[str, Any] = {
        "experiment": "bench",
        "entry_script": "train.py",
        "framework_version": "2.21",
        "cpus_per_process": 0.1,
        "script_params": dict(zip(arguments[::2], arguments[1::2], strict=True)),
        **config,
    }
    configuration = {name: value for name, value in configuration.items() if value is not None}
    edge = secrets.token_hex(16)
    part = f"--{edge}\r\nContent-Disposition: form-data; name="
    form = (
        f'{part}"config"\r\n\r\n{json.dumps(configuration)}\r\n'
        f'{part}"source"; filename="source.zip"\r\n\r\n'
    ).encode()
    return (
        form + archive.getvalue() + f"\r\n--{edge}--\r\n".encode(),
        f"multipart/form-data; boundary={edge}",
    )


def until(condition: Callable[[], bool], what: str, patience: float, every: float) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"It is not so after {patience:g} s that {what}.")
        time.sleep(every)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
