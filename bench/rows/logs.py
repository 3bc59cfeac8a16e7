"""The way of a log: what it costs the program, how fast it comes, how old it is (G6, G7)."""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator

from websockets.sync.client import ClientConnection

from bench import peers
from bench.bench import Bench
from bench.measure import Line, alternate, median_of, percentile
from bench.site import PROGRAMS

PRODUCER = ("--blocks", "800", "--rounds", "5")
FLOOD_LINES = 200_000
TICKS = ("--rate", "1000", "--seconds", "8")


def measure_producer(bench: Bench) -> Iterator[Line]:
    site = bench.site
    python = site.python()
    sizes: list[float] = []

    def shipped() -> float:
        number = site.submit("produce", *PRODUCER)
        site.wait(number)
        log = site.log(number)
        took = _took(log)
        sizes.append(len(log) / took / 1e6)
        return took

    def bare() -> float:
        with tempfile.TemporaryFile(dir=site.home) as file:
            _run_bare(python, "produce", *PRODUCER, to=file.fileno())
            file.seek(-100, os.SEEK_END)
            return _took(file.read())

    ours, floor = alternate(shipped, bare, 5)
    rate = percentile(sizes, 0.5)
    yield Line(
        f"a producer of {rate:.0f} MB/s, its log shipped",
        ours,
        "s",
        1.05,
        "writing to a file",
        floor,
        of_ratio=True,
    )


def measure_lines(bench: Bench) -> Iterator[Line]:
    site = bench.site
    python = site.python()

    def watched() -> float:
        number = site.submit("flood", "--lines", str(FLOOD_LINES))
        with site.watch(number, worker_0=0) as socket:
            began, _ = _read_log(socket, FLOOD_LINES)
            took = time.perf_counter() - began
        site.wait(number)
        return FLOOD_LINES / took

    def piped() -> float:
        began = time.perf_counter()
        with subprocess.Popen(
            [python, PROGRAMS / "flood.py", "--lines", str(FLOOD_LINES)], stdout=subprocess.PIPE
        ) as child:
            count = sum(1 for _ in child.stdout or ())
        if count != FLOOD_LINES:
            raise RuntimeError(f"{count} lines came.")
        return FLOOD_LINES / (time.perf_counter() - began)

    ours, floor = alternate(watched, piped, 5)
    yield Line(
        "lines of one run to a websocket client",
        ours,
        "lines/s",
        192_000,
        "a pipe",
        floor,
        is_least=True,
    )
    if bench.has_peers:
        ray = peers.ray()["lines"]
        yield Line(
            "lines of one run to a websocket client",
            ours,
            "lines/s",
            4,
            "Ray Jobs",
            ray,
            of_ratio=True,
            is_least=True,
        )


def measure_age(bench: Bench) -> Iterator[Line]:
    site = bench.site

    def age() -> float:
        number = site.submit("tick", *TICKS)
        with site.watch(number, worker_0=0) as socket:
            _, ages = _read_log(socket, 8000)
        site.wait(number)
        return percentile(ages, 0.95)

    yield Line("age of a line at 1,000 lines/s, p95", median_of(age, 3), "s", 0.3)


def _read_log(socket: ClientConnection, lines: int) -> tuple[float, list[float]]:
    """Read a run's log to its last line; give when its first bytes came, and each line's age.

    Lines carry their number, or the time at which they were written.
    """
    began, seen, offset, rest = 0.0, 0, 0, ""
    ages: list[float] = []
    while seen < lines:
        message = json.loads(socket.recv(timeout=60))
        if message["type"] != "log":
            continue
        now = time.monotonic()
        began = began or time.perf_counter()
        if message["offset"] != offset:
            raise RuntimeError(f"The log went on at {message['offset']} after {offset}.")
        offset = message["next"]
        *whole, rest = (rest + message["text"]).split("\n")
        seen += len(whole)
        ages += [now - float(line[: line.index(" ")]) for line in whole if line]
    return began, ages


def _run_bare(python: str, program: str, /, *arguments: str, to: int) -> None:
    subprocess.run(
        [python, PROGRAMS / f"{program}.py", *arguments],
        check=True,
        stdout=to,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def _took(log: bytes) -> float:
    found = re.search(rb"took ([\d.]+)\n$", log)
    if not found:
        raise RuntimeError(f"The log ends with {log[-200:]!r}.")
    return float(found[1])
