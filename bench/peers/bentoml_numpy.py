"""Run in BentoML's virtualenv: serve a model like the benchmark's until the input ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PORT = 18268
BODY = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]})
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
            print(json.dumps({"url": url, "body": BODY}), flush=True)
            sys.stdin.read()
        finally:
            # Its worker is in a session of its own, and ends only if it is asked to.
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    """Wait for the port, then for the worker behind it."""
    deadline = time.monotonic() + 120
    request = urllib.request.Request(  # noqa: S310 (our own address)
        url, BODY.encode(), {"Content-Type": "application/json"}
    )
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("BentoML did not start")


if __name__ == "__main__":
    main()
