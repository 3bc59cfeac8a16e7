"""Our model server's REST, one process, beside other products' and beside the floor (G15)."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import modelserver, peers
from bench.bench import Bench
from bench.load import Load, load
from bench.measure import Line, NotMeasured
from bench.site import PROGRAMS, free_port

BODY = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()
ROUNDS, SECONDS = 5, 3
# Times as many requests a second as these, at eight connections.
GOALS = (
    ("KServe", peers.kserve, 2.0),
    ("MLflow", peers.mlflow, 3.5),
    ("BentoML", peers.bentoml, 8.0),
)


def measure(bench: Bench) -> Iterator[Line]:
    with modelserver.serving(_model(bench)) as url, _floor() as floor_url:
        ours, floor = _alternating(url, floor_url, connections=1)
        direct = float(modelserver.run_program("direct_call", _model(bench) / "1"))
        yield Line(
            "a small model over REST, p50 at c=1",
            1000 * ours.p50,
            "ms",
            1000 * (floor.p50 + direct) + 0.5,
            "ASGI floor + direct call",
            1000 * (floor.p50 + direct),
        )
        ours, floor = _alternating(url, floor_url, connections=8)
        yield Line(
            "a small model over REST at c=8",
            ours.rps,
            "rps",
            0.5,
            "ASGI floor",
            floor.rps,
            of_ratio=True,
            is_least=True,
        )
        if not bench.has_peers:
            return
        for name, measure_peer, times in GOALS:
            bench.say(f"measuring {name}")
            before = _load(url, 8)
            peer = measure_peer()
            after = _load(url, 8)
            yield Line(
                f"requests a second beside {name} at c=8",
                (before.rps + after.rps) / 2,
                "rps",
                times,
                name,
                peer["rps"],
                of_ratio=True,
                is_least=True,
            )
            if name == "KServe":
                yield Line(
                    "99th percentile beside KServe at c=8",
                    500 * (before.p99 + after.p99),
                    "ms",
                    1,
                    name,
                    1000 * peer["p99"],
                    of_ratio=True,
                )


def _model(bench: Bench) -> Path:
    folder = bench.folder / "serving-models"
    if not folder.exists():
        bench.say("building models")
        modelserver.build_models(folder)
    return folder / "half"


@contextmanager
def _floor() -> Iterator[str]:
    """Run uvicorn with an application that reads the body and answers at once."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", PROGRAMS, "asgi_floor:app"]
    options = ["--host=127.0.0.1", f"--port={port}", "--no-access-log", "--log-level=error"]
    process = subprocess.Popen([*map(str, command), *options])
    try:
        _wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise NotMeasured("the raw ASGI application did not start.")


def _alternating(url: str, other: str, *, connections: int) -> tuple[Load, Load]:
    """Measure both in turn; give of each the round with the median of the medians."""
    for warmed in (url, other):
        load(warmed, BODY, {}, connections=connections, seconds=1)
    pairs = [(_load(url, connections), _load(other, connections)) for _ in range(ROUNDS)]
    ours, others = zip(*pairs, strict=True)
    return _median(ours), _median(others)


def _median(loads: tuple[Load, ...]) -> Load:
    return sorted(loads, key=lambda one: one.p50)[len(loads) // 2]


def _load(url: str, connections: int) -> Load:
    return load(url, BODY, {}, connections=connections, seconds=SECONDS)
