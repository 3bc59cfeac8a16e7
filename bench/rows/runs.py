"""Runs from their submission on: answer to the POST, first line, twenty at once (G1, G3, G4)."""

import json
import subprocess
import time
from collections.abc import Iterator

from bench import peers
from bench.bench import Bench
from bench.measure import Line, alternate, seconds
from bench.site import submission

TIMES = 11
TWENTY = 20
GOALS = {"post": 0.04, "first line": 0.42, "twenty": 2.64}


def measure_post(bench: Bench) -> Iterator[Line]:
    site = bench.site
    numbers: list[int] = []

    def post() -> float:
        form, kind = submission("hello")
        began = time.perf_counter()
        numbers.append(site.call("POST", "/runs", form, kind)["number"])
        took = time.perf_counter() - began
        site.wait(numbers[-1])
        return took

    def get() -> float:
        return seconds(lambda: site.call("GET", "/runs"))

    ours, floor = alternate(post, get, TIMES)
    yield Line("POST of a run returns", ours, "s", GOALS["post"], "GET of the list", floor)
    if bench.has_peers:
        ray = peers.ray()["post"]
        yield Line("POST of a run returns", ours, "s", 2, "Ray Jobs", ray, of_ratio=True)


def measure_first_line(bench: Bench) -> Iterator[Line]:
    site = bench.site
    python = site.python()

    def first_line() -> float:
        form, kind = submission("hello")
        began = time.perf_counter()
        number = site.call("POST", "/runs", form, kind)["number"]
        with site.watch(number, worker_0=0) as socket:
            for message in socket:
                if json.loads(message)["type"] == "log":
                    break
        took = time.perf_counter() - began
        site.wait(number)
        return took

    def spawn() -> float:
        began = time.perf_counter()
        with subprocess.Popen(
            [python, "-c", "print('hello', flush=True)"], stdout=subprocess.PIPE
        ) as child:
            if child.stdout:
                child.stdout.readline()
            return time.perf_counter() - began

    ours, floor = alternate(first_line, spawn, TIMES)
    yield Line(
        "submit to first line at a websocket client",
        ours,
        "s",
        GOALS["first line"],
        "spawn of Python",
        floor,
    )
    if bench.has_peers:
        ray = peers.ray()["first_line"]
        yield Line("submit to first line", ours, "s", 0.5, "Ray Jobs", ray, of_ratio=True)


def measure_twenty(bench: Bench) -> Iterator[Line]:
    site = bench.site
    python = site.python()

    def runs() -> float:
        forms = [submission("hello") for _ in range(TWENTY)]
        began = time.perf_counter()
        numbers = [site.call("POST", "/runs", form, kind)["number"] for form, kind in forms]
        for number in reversed(numbers):
            site.wait(number)
        return time.perf_counter() - began

    def spawns() -> float:
        began = time.perf_counter()
        children = [
            subprocess.Popen([python, "-c", "print('hello')"], stdout=subprocess.DEVNULL)
            for _ in range(TWENTY)
        ]
        for child in children:
            child.wait()
        return time.perf_counter() - began

    ours, floor = alternate(runs, spawns, 5)
    yield Line("20 trivial runs at once", ours, "s", GOALS["twenty"], "spawns of Python", floor)
    if bench.has_peers:
        ray = peers.ray()["twenty"]
        yield Line("20 trivial runs at once", ours, "s", 0.2, "Ray Jobs", ray, of_ratio=True)
