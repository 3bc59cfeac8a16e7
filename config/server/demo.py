"""The whole journey on the examples, through the public REST API: train, register, deploy, score.

`python -m config.server.demo` leaves the dashboard up; with ONCE=1 it stops everything at the end.
It exits with 0 only if every step worked. With TRAINYARD_TOKEN, that of a member, it takes the
journey on the Trainyard that runs at TRAINYARD_URL, such as one of compose.yaml, and starts none.
"""

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workspace.platform import env

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "keras-multi-worker"
PORT = env.text("TRAINYARD_PORT", "8000")
URL = env.text("TRAINYARD_URL", f"http://127.0.0.1:{PORT}").rstrip("/")
TEAM = f"{URL}/api/v1/teams/default"
MODEL, SERVICE = "digits", "digits"
TOKEN = env.text("TRAINYARD_TOKEN")
STEP_SECONDS = 900


class DemoFailed(Exception):
    """A step of the journey did not work; the text says which and why."""


def main() -> int:
    os.chdir(ROOT)
    if TOKEN:
        return _run_on_existing()
    password = env.secret("TRAINYARD_ADMIN_PASSWORD") or secrets.token_urlsafe(9)
    product = subprocess.Popen(
        [sys.executable, "-m", "config.server.launch"],
        env={**os.environ, "TRAINYARD_ADMIN_PASSWORD": password},
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        try:
            api = _journey(product)
            if os.environ.get("ONCE") == "1":
                _stop_service(api)
                return 0
        except (DemoFailed, KeyboardInterrupt) as stop:
            _say(f"The demo stopped: {stop or 'interrupted'}")
            return 1
        _say(f"The dashboard is up at {URL}, user admin, password {password}. Ctrl-C stops it.")
        return product.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(product)


def _run_on_existing() -> int:
    """Take the journey on a Trainyard that runs already."""
    _say(f"1/6 Going to {URL}")
    api = Api(TOKEN)
    try:
        _run_steps(api)
        if os.environ.get("ONCE") == "1":
            _stop_service(api)
    except (DemoFailed, KeyboardInterrupt) as stop:
        _say(f"The demo stopped: {stop or 'interrupted'}")
        return 1
    return 0


def _journey(product: subprocess.Popen[bytes]) -> "Api":
    _say("1/6 Starting Trainyard")
    _until(lambda: _healthy(product), "Trainyard did not become healthy", seconds=60)
    api = Api(_run_manage("token", "admin", "--name", "demo").split()[-1])
    _run_steps(api)
    return api


def _run_steps(api: "Api") -> None:
    _say(f"2/6 Submitting {EXAMPLE.relative_to(ROOT)}: two workers train one Keras model")
    run = api.submit(EXAMPLE)
    _say(f"    Watch it: {URL}{run['url']}")
    _say("3/6 Following worker-0 (the first time its environment is built, a minute or two)")
    _follow(api, run["number"])
    _say("4/6 Registering outputs/digits as a model")
    version = api.post(
        "/models",
        {
            "run": run["number"],
            "path": "outputs/digits",
            "name": MODEL,
            "framework": "TensorFlow",
            "framework_version": "2.21",
        },
    )
    name = f"{MODEL}:{version['version']}"
    _say(f"5/6 Deploying {name} as the service {SERVICE}")
    _deploy(api, name)
    _say("6/6 Scoring a handwritten 7")
    request = json.loads((EXAMPLE / "score.json").read_text())
    answer = api.post(f"/services/{SERVICE}/score", request)
    chances = answer["predictions"][0]
    digit = max(range(len(chances)), key=lambda index: chances[index])
    _say(f"    The service says it is a {digit} (probability {chances[digit]:.3f}).")
    if digit != 7:
        raise DemoFailed(f"the service took the 7 for a {digit}")


class Api:
    """The few calls of the REST API that the journey needs."""

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        return json.loads(self.raw("GET", path))

    def post(self, path: str, body: object) -> Any:
        return json.loads(self.raw("POST", path, json.dumps(body).encode(), "application/json"))

    def submit(self, folder: Path) -> Any:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted(folder.iterdir()):
                packed.write(file, file.name)
        boundary = secrets.token_hex(16)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="config"\r\n\r\n'.encode(),
            (folder / "run.json").read_bytes(),
            f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="source";'
            f' filename="source.zip"\r\n\r\n'.encode(),
            archive.getvalue(),
            f"\r\n--{boundary}--\r\n".encode(),
        ]
        kind = f"multipart/form-data; boundary={boundary}"
        return json.loads(self.raw("POST", "/runs", b"".join(parts), kind))

    def raw(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        headers = self._headers | ({"Content-Type": kind} if kind else {})
        request = urllib.request.Request(TEAM + path, body, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            raise DemoFailed(f"{method} {path}: {error.code} {error.read().decode()}") from error
        except OSError as error:
            raise DemoFailed(f"{method} {path}: {error}") from error


def _follow(api: Api, number: int) -> None:
    """Print the first worker's log as it grows, until the run is over."""
    offset, status = 0, ""
    deadline = time.monotonic() + STEP_SECONDS
    while time.monotonic() < deadline:
        run = api.get(f"/runs/{number}")
        if run["status"] != status:
            status = run["status"]
            _say(f"    {status}")
        if run["processes"]:
            text = api.raw("GET", f"/runs/{number}/logs/worker-0?offset={offset}")
            offset += len(text)
            sys.stdout.write(text.decode("utf-8", "replace"))
            sys.stdout.flush()
        if status == "Completed":
            return
        if status in {"Failed", "Canceled"}:
            raise DemoFailed(
                f"run {number} ended {status}: {json.dumps(run['end_detail'], indent=2)}"
            )
        time.sleep(0.5)
    raise DemoFailed(f"run {number} was not over after {STEP_SECONDS} s")


def _deploy(api: Api, model: str) -> None:
    states = {service["name"]: service["state"] for service in api.get("/services")}
    if SERVICE in states:
        api.raw(
            "PATCH",
            f"/services/{SERVICE}",
            json.dumps({"model": model}).encode(),
            "application/json",
        )
        if states[SERVICE] == "Stopped":
            api.raw("POST", f"/services/{SERVICE}/start")
    else:
        api.post("/services", {"name": SERVICE, "model": model, "resources": {"memory_gb": 2}})

    def is_healthy() -> bool:
        service = api.get(f"/services/{SERVICE}")
        if service["state"] == "Failed":
            raise DemoFailed(f"the service failed: {service['state_reason']}")
        return bool(service["state"] == "Healthy")

    _until(is_healthy, "the service did not become healthy")


def _stop_service(api: Api) -> None:
    """End the model server, which would outlive Trainyard."""
    api.raw("POST", f"/services/{SERVICE}/stop")
    _until(
        lambda: bool(api.get(f"/services/{SERVICE}")["state"] == "Stopped"),
        "the service did not stop",
        seconds=60,
    )


def _healthy(product: subprocess.Popen[bytes]) -> bool:
    if product.poll() is not None:
        raise DemoFailed("Trainyard could not be started; its message stands above")
    try:
        with urllib.request.urlopen(f"{URL}/api/v1/health", timeout=5) as response:  # noqa: S310
            return bool(response.status == 200)
    except OSError:
        return False


def _run_manage(*arguments: str) -> str:
    return subprocess.run(  # noqa: S603
        [sys.executable, "manage.py", *arguments], check=True, capture_output=True, text=True
    ).stdout


def _until(condition: Callable[[], bool], complaint: str, seconds: float = STEP_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"{complaint} within {seconds:.0f} s")
        time.sleep(0.3)


def _stop(product: subprocess.Popen[bytes]) -> None:
    if product.poll() is None:
        product.send_signal(signal.SIGTERM)
        product.wait()


def _say(text: str) -> None:
    print(f"\033[1mdemo\033[0m {text}" if sys.stdout.isatty() else f"demo {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
