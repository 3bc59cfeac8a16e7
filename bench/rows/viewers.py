"""What fifty viewers of one run cost beside one, and that each of them sees all of it (G8)."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from bench import procfs
from bench.bench import Bench
from bench.measure import Line, alternate

RATE, SECONDS = 1000, 8
MANY = 50


def measure(bench: Bench) -> Iterator[Line]:
    site = bench.site

    def cpu_of(viewers: int) -> float:
        number = site.submit("tick", "--rate", str(RATE), "--seconds", str(SECONDS))
        watcher = subprocess.Popen(
            [sys.executable, "-m", "bench.watchers", site.watching_url(number, worker_0=0)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"TOKEN": site.token, "ORIGIN": site.url},
            text=True,
        )
        asked = json.dumps({"viewers": viewers, "lines": RATE * SECONDS})
        parts = procfs.children(site.pid)
        before = procfs.cpu_seconds(parts)
        said, _ = watcher.communicate(asked, timeout=SECONDS + 60)
        used = procfs.cpu_seconds(parts) - before
        if json.loads(said) != [RATE * SECONDS] * viewers:
            raise RuntimeError(f"Not every viewer saw every line: {said}")
        site.wait(number)
        time.sleep(0.5)
        return used

    ours, one = alternate(lambda: cpu_of(MANY), lambda: cpu_of(1), 3)
    yield Line(
        f"CPU of the server with {MANY} viewers", ours, "s", 2, "one viewer", one, of_ratio=True
    )
