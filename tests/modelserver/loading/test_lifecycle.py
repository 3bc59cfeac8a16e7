"""From start to stop: loading, new versions while requests run, broken ones, signals."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from ..environment import ROOT
from ..fixtures import StartServer
from ..serving import ModelServer

pytestmark = pytest.mark.tensorflow

DEADLINE = 60.0


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def publish(source: Path, base: Path, version: int) -> None:
    """Put a version in place at once, as a registry does."""
    arriving = base / f".arriving-{version}"
    shutil.copytree(source, arriving)
    arriving.rename(base / str(version))


def states(server: ModelServer) -> dict[str, str]:
    listed = server.get("/v1/models/line").json["model_version_status"]
    return {entry["version"]: entry["state"] for entry in listed}


class Caller(threading.Thread):
    """Keeps asking for one prediction and remembers every answer."""

    def __init__(self, server: ModelServer) -> None:
        super().__init__(daemon=True)
        self.port = server.port
        self.over = threading.Event()
        self.answers: list[tuple[int, float]] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.over.is_set():
            connection.request("POST", "/v1/models/line:predict", b'{"instances": [2]}')
            response = connection.getresponse()
            body = json.loads(response.read())
            self.answers.append((response.status, body.get("predictions", [0.0])[0]))
        connection.close()


def test_versions_take_over_from_each_other_without_a_failed_request(
    start_server: StartServer, saved_models: Path, tmp_path: Path
) -> None:
    base = tmp_path / "line"
    base.mkdir()
    publish(saved_models / "line" / "1", base, 1)
    server = start_server("--model_name=line", f"--model_base_path={base}").wait_until_ready()
    callers = [Caller(server) for _ in range(4)]
    for caller in callers:
        caller.start()

    publish(saved_models / "line" / "2", base, 2)
    wait_for(lambda: states(server) == {"2": "AVAILABLE", "1": "END"}, "version 2 alone")
    wait_for(lambda: all(c.answers[-1:] == [(200, 4.0)] for c in callers), "its answers")
    assert server.post("/v1/models/line/versions/1:predict", {"instances": [2]}).status == 404

    # A broken version leaves the old one serving, is tried once, and its error can be seen.
    broken = base / "3"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"this is no SavedModel")
    (base / "not-a-version").mkdir()
    wait_for(lambda: states(server).get("3") in ("LOADING", "END"), "version 3 to be tried")
    assert server.post("/v1/models/line:predict", {"instances": [2]}).json == {"predictions": [4.0]}
    assert states(server)["2"] == "AVAILABLE"

    # When the newest directory goes, and the one before comes back, that one serves.
    shutil.rmtree(broken)
    shutil.rmtree(base / "2")
    wait_for(lambda: states(server)["1"] == "AVAILABLE", "version 1 to come back")
    wait_for(lambda: all(c.answers[-1:] == [(200, 3.0)] for c in callers), "its answers")

    for caller in callers:
        caller.over.set()
        caller.join(DEADLINE)
    for caller in callers:
        assert {status for status, _ in caller.answers} == {200}
        values = [value for _, value in caller.answers]
        assert [value for value, _ in groupby(values)] == [3.0, 4.0, 3.0]


def test_a_version_that_fails_is_loaded_again_only_when_it_changes(
    start_server: StartServer, saved_models: Path, tmp_path: Path
) -> None:
    base = tmp_path / "line"
    shutil.copytree(saved_models / "line" / "1", base / "1")
    server = start_server(
        "--model_name=line", f"--model_base_path={base}", "--max_num_load_retries=0"
    ).wait_until_ready()
    half = base / "2"
    half.mkdir()
    (half / "saved_model.pb").write_bytes(b"")

    wait_for(lambda: states(server).get("2") == "END", "the half-written version to fail")
    status = server.get("/v1/models/line/versions/2").json["model_version_status"][0]["status"]
    assert status["error_code"] != "OK"
    assert str(half) in status["error_message"]
    assert server.post("/v1/models/line:predict", {"instances": [2]}).json == {"predictions": [3.0]}

    shutil.copytree(
        saved_models / "line" / "2", half, dirs_exist_ok=True, copy_function=shutil.copyfile
    )
    wait_for(lambda: states(server) == {"2": "AVAILABLE", "1": "END"}, "the whole version to load")
    assert server.log_text().count("Version 2 of model line could not be loaded") == 1
    assert server.post("/v1/models/line:predict", {"instances": [2]}).json == {"predictions": [4.0]}


def test_a_server_without_versions_is_healthy_but_not_ready_until_one_appears(
    start_server: StartServer, saved_models: Path, tmp_path: Path
) -> None:
    base = tmp_path / "line"
    server = start_server("--model_name=line", f"--model_base_path={base}")

    def is_up() -> bool:
        try:
            return server.get("/healthz").status == 200
        except OSError:
            return False

    wait_for(is_up, "the server to listen")
    assert server.get("/readyz").status == 503
    missing = server.post("/v1/models/line:predict", {"instances": [2]})
    assert (missing.status, missing.error) == (
        404,
        "Servable not found for request: Latest(line)",
    )

    shutil.copytree(saved_models / "line" / "1", base / "0001")
    server.wait_until_ready()
    assert states(server) == {"1": "AVAILABLE"}


def test_a_start_fails_when_the_model_is_broken(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "line" / "1").mkdir(parents=True)

    server = start_server(
        "--model_name=line", f"--model_base_path={tmp_path / 'line'}", "--max_num_load_retries=0"
    )

    assert server.wait_for_exit() == 255
    assert "Failed to start server. Error: " in server.log_text()
    assert "1 servable(s) did not become available" in server.log_text()
    assert "Could not find SavedModel .pb or .pbtxt" in server.log_text()


def test_recorded_requests_are_replayed_before_a_version_serves(
    start_server: StartServer, saved_models: Path
) -> None:
    server = start_server("--model_name=line", f"--model_base_path={saved_models / 'warm'}")

    server.wait_until_ready()

    assert "Replayed 2 warm-up requests" in server.log_text()


def test_a_warm_up_that_fails_fails_the_load_unless_it_is_switched_off(
    start_server: StartServer, saved_models: Path
) -> None:
    flags = (
        "--model_name=line",
        f"--model_base_path={saved_models / 'badly-warmed'}",
        "--max_num_load_retries=0",
    )

    failing = start_server(*flags)
    careless = start_server(*flags, "--enable_model_warmup=false")

    assert failing.wait_for_exit() == 255
    assert "record 0 fails: Signature input alias: x" in failing.log_text()
    careless.wait_until_ready()


def test_a_taken_port_is_one_clear_sentence(start_server: StartServer, zoo: ModelServer) -> None:
    server = start_server(f"--rest_api_port={zoo.port}", "--model_base_path=/nowhere")

    assert server.wait_for_exit() == 255
    assert f"can't listen on 127.0.0.1:{zoo.port}: address already in use" in server.log_text()
    assert "Traceback" not in server.log_text()


def test_sigterm_lets_requests_in_flight_finish(
    start_server: StartServer, saved_models: Path
) -> None:
    server = start_server(
        "--model_name=zoo", f"--model_base_path={saved_models / 'zoo'}"
    ).wait_until_ready()
    in_flight = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    idle.request("GET", "/healthz")
    idle.getresponse().read()
    turns = 200_000
    in_flight.request(
        "POST",
        "/v1/models/zoo:predict",
        json.dumps({"signature_name": "spin", "inputs": turns}).encode(),
    )
    # Its answer shows that what was sent before it has arrived.
    assert server.get("/healthz").status == 200

    server.process.send_signal(signal.SIGTERM)

    response = in_flight.getresponse()
    assert (response.status, json.loads(response.read())) == (200, {"outputs": turns})
    assert response.headers["Connection"] == "close"
    assert server.wait_for_exit() == 0
    in_flight.close()
    idle.close()
    with pytest.raises(OSError):  # noqa: PT011 (refused or reset, either is right)
        server.get("/healthz")


def test_a_run_longer_than_the_timeout_is_a_504(
    start_server: StartServer, saved_models: Path
) -> None:
    server = start_server(
        "--model_name=zoo",
        f"--model_base_path={saved_models / 'zoo'}",
        "--rest_api_timeout_in_ms=200",
        "--rest_api_num_threads=2",
        "--tensorflow_intra_op_parallelism=1",
        "--tensorflow_inter_op_parallelism=1",
    ).wait_until_ready()

    answer = server.post(
        "/v1/models/zoo:predict", {"signature_name": "spin", "inputs": 2_000_000_000}
    )

    assert answer.status == 504
    wait_for(
        lambda: server.post("/v1/models/zoo:predict", {"instances": [[1, 2]]}).status == 200,
        "an answer in time",
    )


def test_the_server_never_imports_django_and_starts_without_tensorflow(
    tensorflow_python: Path, tmp_path: Path
) -> None:
    (tmp_path / "django.py").write_text("raise RuntimeError('Django was imported')")
    package = ROOT / "deploy" / "modelserver"
    modules = sorted(
        ".".join(path.relative_to(package).with_suffix("").parts)
        for path in package.rglob("[a-z]*.py")
    )
    start = "import deploy.modelserver.server, sys; print('tensorflow' in sys.modules)"
    rest = "; ".join(f"import deploy.modelserver.{name}" for name in modules)

    done = subprocess.run(
        [str(tensorflow_python), "-c", f"{start}; {rest}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert len(modules) > 10
    assert done.stdout.strip() == "False"


RELOADS = """
import gc, sys
from pathlib import Path
from deploy.modelserver.loading.savedmodel import SessionOptions, import_tensorflow, load

tf = import_tensorflow()
for _ in range(3):
    close = load(Path(sys.argv[1]), SessionOptions()).close
    close()
    del close
gc.unfreeze()
print(sum(isinstance(known, (tf.Graph, tf.compat.v1.Session)) for known in gc.get_objects()))
"""


def test_a_version_that_was_unloaded_leaves_no_graph_in_memory(
    tensorflow_python: Path, saved_models: Path
) -> None:
    done = subprocess.run(
        [str(tensorflow_python), "-c", RELOADS, str(saved_models / "zoo" / "3")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "0"
