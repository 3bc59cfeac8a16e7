"""Start the model server as users do, and talk to it over HTTP."""

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workspace.compute.local.ports import free_port

from .environment import ROOT

START_SECONDS = 120.0


@dataclass
class Answer:
    """A response: status and body, as JSON where it is."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert list(self.json) == ["error"]
        return str(self.json["error"])


class ModelServer:
    """A running model server process."""

    def __init__(self, python: Path, log: Path, *flags: str, grpc_port: int | None = 0) -> None:
        self.port = free_port(())
        self.grpc_target = f"127.0.0.1:{grpc_port}"
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [
                    str(python),
                    "-m",
                    "deploy.modelserver",
                    "--host=127.0.0.1",
                    f"--rest_api_port={self.port}",
                    *([] if grpc_port is None else [f"--port={grpc_port}"]),
                    *flags,
                ],
                cwd=ROOT,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
            )

    def wait_until_ready(self) -> "ModelServer":
        """Wait for /readyz; show the log if the process ends first."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.get("/readyz").status == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the server did not become ready:\n{self.log_text()}")

    def wait_for_exit(self) -> int:
        """Return the exit code."""
        return self.process.wait(START_SECONDS)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        """POST bytes or text as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else str(body).encode()
        if not isinstance(body, bytes | str):
            data = json.dumps(body).encode()
        return self.send("POST", path, data, **headers)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return Answer(response.status, response.read(), dict(response.getheaders()))
        finally:
            connection.close()

    def raw(self, data: bytes, *, timeout: float = 20) -> bytes:
        """Send bytes as they are and return all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            received = b""
            while piece := connection.recv(65536):
                received += piece
            return received


def write_model_config(path: Path, models: Mapping[str, Path]) -> Path:
    """Write a model_config_file that serves each model from its folder."""
    entries = (
        f'  config {{ name: "{name}" base_path: "{folder}" model_platform: "tensorflow" }}'
        for name, folder in models.items()
    )
    path.write_text("\n".join(["model_config_list {", *entries, "}"]))
    return path
