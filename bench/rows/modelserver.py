"""Our model server's REST, one process, beside other products' and beside the floor (G15)."""

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench import modelserver, peers
from bench.bench import Bench
from bench.load import Load, load
from bench.measure import Line, RowSkipped
from bench.peers import Peer
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
    model = modelserver.built_models(bench.folder) / "half"
    with modelserver.serving(model) as url, _floor() as floor_url:
        ours, floor = _alternating(Peer(url, BODY), Peer(floor_url, BODY), connections=1)
        direct = float(modelserver.run_program("direct_call", model / "1"))
        yield Line(
            "a small model over REST, p50 at c=1",
            1000 * ours.p50,
            "ms",
            1000 * (floor.p50 + direct) + 0.5,
            "ASGI floor + direct call",
            1000 * (floor.p50 + direct),
        )
        ours, floor = _alternating(Peer(url, BODY), Peer(floor_url, BODY), connections=8)
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
        for name, run_peer, times in GOALS:
            bench.say(f"measuring {name}")
            with run_peer() as peer:
                ours, theirs = _alternating(Peer(url, BODY), peer, connections=8)
            yield Line(
                f"a small model beside {name} at c=8",
                ours.rps,
                "rps",
                times,
                name,
                theirs.rps,
                of_ratio=True,
                is_least=True,
            )
            if name == "KServe":
                yield Line(
                    "the same, 99th percentile",
                    1000 * ours.p99,
                    "ms",
                    1,
                    name,
                    1000 * theirs.p99,
                    of_ratio=True,
                )


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
    raise RowSkipped("the raw ASGI application did not start.")


def _alternating(ours: Peer, other: Peer, *, connections: int) -> tuple[Load, Load]:
    """Measure both in turn; return the medians of each figure."""
    for warmed in (ours, other):
        _load(warmed, connections, seconds=1)
    pairs = [(_load(ours, connections), _load(other, connections)) for _ in range(ROUNDS)]
    return _median([pair[0] for pair in pairs]), _median([pair[1] for pair in pairs])


def _median(loads: list[Load]) -> Load:
    return Load(
        *(statistics.median(getattr(one, name) for one in loads) for name in ("p50", "rps", "p99"))
    )


def _load(peer: Peer, connections: int, seconds: int = SECONDS) -> Load:
    return load(peer.url, peer.body, {}, connections=connections, seconds=seconds)
