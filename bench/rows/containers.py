"""Runs in containers of an engine beside the same containers by hand (G2, G19, G24)."""

import json
import re
import time
from collections.abc import Iterator, Sequence

from bench.bench import Bench
from bench.engine import PLAIN_IMAGE, ContainerSite, on_engine, seconds_to_line
from bench.measure import Line, alternate, median_of
from bench.site import OVER, submission

PLAIN = {"custom_docker_image": PLAIN_IMAGE}
TIMES = 7
GANG = 8
OVER_SDK_SECONDS, OVER_ONE_SECONDS = 0.3, 3.0
GRACE_SECONDS = 2
STEPS = ("--steps", "1000")
WORKERS = 2
LEAST_SHARE_OF_STEPS, MOST_OF_FIRST_STEP = 0.98, 1.1


def measure_first_line(bench: Bench) -> Iterator[Line]:
    site = bench.containers

    image = site.plain

    def by_sdk() -> float:
        began = time.perf_counter()
        with site.by_hand(image, "hello") as (container,):
            container.start()
            return seconds_to_line(container, b"hello", began)

    ours, sdk = alternate(lambda: _first_lines(site, 1), by_sdk, TIMES)
    yield Line(
        "container: submit to first line at a client",
        ours,
        "s",
        sdk + OVER_SDK_SECONDS,
        "SDK create to first line",
        sdk,
    )


def measure_gang(bench: Bench) -> Iterator[Line]:
    site = bench.containers
    _ = site.plain  # which is built here
    gang, one = alternate(lambda: _first_lines(site, GANG), lambda: _first_lines(site, 1), 3)
    yield Line(
        f"gang of {GANG} containers to all first lines",
        gang,
        "s",
        one + OVER_ONE_SECONDS,
        "one container",
        one,
    )


def measure_stop(bench: Bench) -> Iterator[Line]:
    site = bench.containers
    _ = site.plain

    def canceled() -> float:
        config = on_engine({**PLAIN, "grace_seconds": GRACE_SECONDS})
        number = site.submit("sleeper", "--ignore", "1", **config)
        with site.watch(number, worker_0=0) as socket:
            while "ready" not in str(socket.recv()):
                pass
        began = time.perf_counter()
        site.post(f"/runs/{number}/cancel", {})
        site.wait(number, to_end_as="Canceled")
        return time.perf_counter() - began

    yield Line(
        "container: stop to terminal, SIGTERM ignored",
        median_of(canceled, 3),
        "s",
        GRACE_SECONDS + 1,
        "the grace",
        GRACE_SECONDS,
    )


def measure_training(bench: Bench) -> Iterator[Line]:
    """Train on two containers, and on two by hand with the same image and TF_CONFIG, in turn."""
    site = bench.containers
    image = site.tensorflow
    first: dict[str, list[float]] = {"ours": [], "by hand": []}

    def under_trainyard() -> float:
        form, kind = submission("gang_steps", *STEPS, **on_engine(_gang(WORKERS)))
        began = time.perf_counter()
        number = site.call("POST", "/runs", form, kind)["number"]
        with site.watch(number, worker_0=0) as socket:
            while "first step" not in str(socket.recv()):
                pass
        first["ours"].append(time.perf_counter() - began)
        site.wait(number)
        return _steps_per_second(site.log(number))

    def by_hand() -> float:
        began = time.perf_counter()
        with site.by_hand(image, "gang_steps", STEPS, WORKERS) as containers:
            for container in containers:
                container.start()
            first["by hand"].append(seconds_to_line(containers[0], b"first step", began))
            for container in containers:
                container.wait()
            return _steps_per_second(containers[0].logs())

    ours, bare = alternate(under_trainyard, by_hand, 5)
    yield Line(
        f"steps per second of {WORKERS} containers",
        ours,
        "steps/s",
        LEAST_SHARE_OF_STEPS,
        "the same by hand",
        bare,
        of_ratio=True,
        is_least=True,
    )
    yield Line(
        f"submit to first step of {WORKERS} containers",
        _median(first["ours"]),
        "s",
        MOST_OF_FIRST_STEP,
        "the same by hand",
        _median(first["by hand"]),
        of_ratio=True,
    )


def _gang(workers: int) -> dict[str, object]:
    if workers == 1:
        return {}
    return {"distributed_training": {"type": "multi_worker", "worker_count": workers}}


def _first_lines(site: ContainerSite, workers: int) -> float:
    """Return how long after its submission the last process of a run printed its first line."""
    form, kind = submission("hello", **on_engine({**PLAIN, **_gang(workers)}))
    waited_for = {f"worker-{index}" for index in range(workers)}
    began = time.perf_counter()
    number = site.call("POST", "/runs", form, kind)["number"]
    with site.watch(number, **{name.replace("-", "_"): 0 for name in waited_for}) as socket:
        while waited_for:
            message = json.loads(socket.recv())
            if message["type"] == "log":
                waited_for.discard(message["process"])
            elif message.get("status") in OVER - {"Completed"}:
                raise RuntimeError(f"Run {number} ended {message['status']}.")
    took = time.perf_counter() - began
    site.wait(number)
    return took


def _steps_per_second(log: bytes) -> float:
    found = re.search(rb"steps/s ([\d.]+)", log)
    if not found:
        raise RuntimeError(f"The log ends with {log[-500:]!r}.")
    return float(found[1])


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
