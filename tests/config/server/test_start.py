"""The whole product, started as a person starts it."""

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.config.server.launched import (
    CLEAN,
    ROOT,
    LaunchedProduct,
    children_of,
    is_alive,
    title_of,
)
from tests.waiting import wait_for
from workspace.compute.local.ports import free_port

pytestmark = pytest.mark.processes
Start = Callable[..., LaunchedProduct]


@pytest.fixture
def port() -> int:
    return free_port(())


@pytest.fixture
def start(tmp_path: Path, port: int, product_database: dict[str, str]) -> Iterator[Start]:
    started: list[LaunchedProduct] = []

    def start(**environment: str) -> LaunchedProduct:
        variables = {
            "TRAINYARD_HOME": str(tmp_path / "yard"),
            "TRAINYARD_PORT": str(port),
            "TRAINYARD_GRPC_PORT": "0",
            **product_database,
            **environment,
        }
        started.append(
            LaunchedProduct(tmp_path, "-m", "config.server.launch", environment=variables)
        )
        return started[-1]

    yield start
    for one in started:
        one.end()


def health(port: int) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/health", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        with error:
            return {"status": f"{error.code}: {error.read().decode()}"}
    except OSError as error:
        return {"status": str(error)}


def wait_until_well(port: int) -> None:
    wait_for(lambda: health(port)["status"] == "ok", "a healthy answer", 180)


def test_one_command_starts_everything_and_one_signal_stops_it(start: Start, port: int) -> None:
    launched = start()
    launched.wait_to_hear(f"Trainyard is up at http://127.0.0.1:{port}", seconds=180)
    wait_until_well(port)
    assert launched.said.count("one-time password") == 1
    parts = launched.parts()
    assert {title_of(pid) for pid in [launched.process.pid, *parts.values()]} == {
        "trainyard: launcher",
        "trainyard: broker",
        "trainyard: web",
        "trainyard: supervisor",
        "trainyard: worker 1",
        "trainyard: worker 2",
        "trainyard: worker 3",
        "trainyard: worker 4",
    }

    assert launched.stop() == 0

    assert not any(is_alive(pid) for pid in parts.values())
    assert "Traceback" not in launched.said

    again = start()
    wait_until_well(port)
    assert "one-time password" not in again.said
    assert again.stop() == 0


def test_static_files_have_names_that_may_be_kept_for_ever(start: Start, port: int) -> None:
    launched = start()
    wait_until_well(port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/login/") as page:
        found = re.search(r'src="(/static/js/app[^"]+)"', page.read().decode())
    assert found is not None

    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{found.group(1)}", headers={"Accept-Encoding": "gzip"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 (our own address)
        script = gzip.decompress(answer.read()).decode()

    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in answer.headers["Cache-Control"]
    assert re.search(r'from "\./\w+\.[0-9a-f]{12}\.js"', script)
    assert "Warning" not in launched.said


def test_the_launcher_has_no_thread_that_a_fork_would_lose(start: Start, port: int) -> None:
    launched = start()
    wait_until_well(port)
    assert len(os.listdir(f"/proc/{launched.process.pid}/task")) == 1


def test_each_part_may_be_killed_and_comes_back(start: Start, port: int) -> None:
    launched = start()
    wait_until_well(port)
    before = launched.parts()

    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    launched.wait_to_hear("was killed by SIGKILL", times=len(before))
    wait_for(lambda: set(launched.parts()) == set(before), "the return of all parts")
    assert not set(launched.parts().values()) & set(before.values())
    wait_until_well(port)


def enqueue(launched: LaunchedProduct, queue: str, job: str) -> None:
    code = f"import os, time, django_rq; django_rq.get_queue({queue!r}).enqueue({job})"
    subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", code],
        cwd=ROOT,
        env={**CLEAN, "TRAINYARD_HOME": launched.home},
        check=True,
    )


def begin_a_long_job(launched: LaunchedProduct) -> tuple[int, int]:
    """Return the worker that took the job, and the process that does it."""
    enqueue(launched, "default", "time.sleep, 600")
    workers = [pid for name, pid in launched.parts().items() if name.startswith("worker")]
    return wait_for(
        lambda: next(((pid, child) for pid in workers for child in children_of(pid)), None),
        "the start of the job",
    )


def test_a_job_dies_with_its_worker(start: Start, port: int) -> None:
    launched = start()
    wait_until_well(port)
    worker, job = begin_a_long_job(launched)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not is_alive(job), "the end of the job")


def test_long_conversions_delay_no_build_and_long_builds_no_metrics(
    start: Start, port: int, tmp_path: Path
) -> None:
    launched = start()
    wait_until_well(port)
    for kind in ("conversions", "conversions"):
        enqueue(launched, kind, "time.sleep, 600")
    enqueue(launched, "builds", f"os.mkdir, {str(tmp_path / 'built')!r}")
    wait_for((tmp_path / "built").exists, "the end of a build beside the conversions")
    for kind in ("builds", "builds"):
        enqueue(launched, kind, "time.sleep, 600")
    workers = launched.parts()
    wait_for(
        lambda: all(children_of(workers[name]) for name in ("worker-2", "worker-3", "worker-4")),
        "the start of the long jobs",
    )
    for kind in ("metrics", "default"):
        enqueue(launched, kind, f"os.mkdir, {str(tmp_path / kind)!r}")
        wait_for((tmp_path / kind).exists, f"the end of the job in {kind}")


def test_a_job_that_takes_long_does_not_hold_up_a_stop(start: Start, port: int) -> None:
    launched = start()
    wait_until_well(port)
    worker, job = begin_a_long_job(launched)
    assert launched.stop() == 0
    assert not is_alive(worker)
    assert not is_alive(job)


def test_a_start_after_everything_was_killed_at_once_is_a_start_like_any(
    start: Start, port: int
) -> None:
    launched = start()
    wait_until_well(port)
    launched.process.kill()
    launched.process.wait()

    start()

    wait_until_well(port)


def test_a_second_instance_on_the_same_home_is_refused(start: Start, port: int) -> None:
    first = start()
    wait_until_well(port)
    second = start(TRAINYARD_PORT=str(port + 1))
    assert second.wait_for_end() == 1
    assert second.said == (
        f"Trainyard is already running on {first.home} (process {first.process.pid}):"
        " stop it, or set TRAINYARD_HOME to another folder.\n"
    )


def test_a_taken_port_is_named(start: Start, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        launched = start()
        assert launched.wait_for_end() == 1
    assert launched.said == (
        f"Port {port} of 127.0.0.1 is taken by another program:"
        " stop it, or set TRAINYARD_PORT to another port.\n"
    )


def test_grpc_is_answered_on_its_port(start: Start) -> None:
    number = free_port(())
    launched = start(TRAINYARD_GRPC_PORT=str(number))
    launched.wait_to_hear("Trainyard is up", seconds=180)
    with grpc.insecure_channel(f"127.0.0.1:{number}") as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as caught:
            predict(b"", timeout=20)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert launched.stop() == 0


def test_a_taken_port_of_grpc_is_named(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        launched = start(TRAINYARD_GRPC_PORT=str(number))
        assert launched.wait_for_end() == 1
    assert launched.said == (
        f"Port {number} of 127.0.0.1 is taken by another program:"
        " stop it, or set TRAINYARD_GRPC_PORT to another port.\n"
    )


def test_a_home_that_cannot_be_made_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    launched = start(TRAINYARD_HOME=str(tmp_path / "file" / "home"))
    assert launched.wait_for_end() == 2
    assert launched.said.startswith("TRAINYARD_HOME: cannot make the folder")
    assert len(launched.said.splitlines()) == 1


def test_a_home_with_another_database_is_refused_with_the_way_out(
    start: Start, port: int, tmp_path: Path
) -> None:
    home = tmp_path / "yard"
    home.mkdir()
    (home / "installation").write_text("another 3\n")
    launched = start()
    assert launched.process.wait(180) == 1
    assert "The database is new" in launched.said
    assert "manage.py accept_database" in launched.said
    assert "Traceback" not in launched.said
