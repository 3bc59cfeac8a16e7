"""Run in BentoML's virtualenv: serve a model like the benchmark's, measure it, print JSON."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from bench.load import load

PORT = 18268
BODY = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()
SERVICE = """
import bentoml
import numpy as np

@bentoml.service(workers=1)
class Half:
    @bentoml.api
    def predict(self, instances: list[list[float]]) -> list[list[float]]:
        return (np.asarray(instances) / 2 + 2).tolist()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        Path(home, "service.py").write_text(SERVICE)
        server = subprocess.Popen(
            [f"{sys.prefix}/bin/bentoml", "serve", "service:Half", "-p", str(PORT), "-q"],
            cwd=home,
            env=os.environ
            | {
                "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
                "BENTOML_HOME": home,
                "BENTOML_DO_NOT_TRACK": "True",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{PORT}/predict"
            _wait(server, url)
            one = load(url, BODY, {}, connections=1, seconds=3)
            eight = load(url, BODY, {}, connections=8, seconds=3)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    print(json.dumps({"p50": one.p50, "rps": eight.rps, "p99": eight.p99}))


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    """Wait for the port, then for the worker behind it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                try:
                    load(url, BODY, {}, connections=1, seconds=1)
                except (RuntimeError, OSError, EOFError, subprocess.SubprocessError):
                    pass
                else:
                    return
        time.sleep(0.1)
    raise RuntimeError("BentoML did not start")


if __name__ == "__main__":
    main()
