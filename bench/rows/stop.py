"""How soon a canceled run is over: one that stops when asked, and one that does not (G24)."""

import time
from collections.abc import Iterator

from bench import peers
from bench.bench import Bench
from bench.measure import Line, median_of

TIMES = 5
GRACE_SECONDS = 2


def measure(bench: Bench) -> Iterator[Line]:
    site = bench.site

    def canceled(ignores: int, grace: int) -> float:
        number = site.submit("sleeper", "--ignore", str(ignores), grace_seconds=grace)
        with site.watch(number, worker_0=0) as socket:
            while "ready" not in str(socket.recv()):
                pass
        began = time.perf_counter()
        site.post(f"/runs/{number}/cancel", {})
        site.wait(number, to_end_as="Canceled")
        return time.perf_counter() - began

    ours = median_of(lambda: canceled(0, 30), TIMES)
    yield Line("stop to terminal, cooperative", ours, "s", 1.2)
    if bench.has_peers:
        ray = peers.ray()["stop"]
        yield Line("stop to terminal", ours, "s", 1.0, "Ray Jobs", ray, of_ratio=True)
    yield Line(
        "stop to terminal, SIGTERM ignored",
        median_of(lambda: canceled(1, GRACE_SECONDS), TIMES),
        "s",
        GRACE_SECONDS + 1,
        "the grace",
        GRACE_SECONDS,
    )
