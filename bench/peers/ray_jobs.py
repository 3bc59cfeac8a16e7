"""Run in Ray's virtualenv: measure Ray Jobs and print the figures as JSON."""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
RAY = str(Path(sys.executable).with_name("ray"))
PORT = 9265
BOOT_SECONDS = 60
HELLO = f"{sys.executable} -c \"print('hello')\""
SLEEP = f"{sys.executable} -c \"import time; print('ready', flush=True); time.sleep(600)\""
FLOOD = Path(__file__).resolve().parent.parent / "programs" / "flood.py"
LINES = 200_000
TIMES = 5
TERMINAL = {"SUCCEEDED", "FAILED", "STOPPED"}


def main() -> None:
    from ray.job_submission import JobSubmissionClient

    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        options = [f"--dashboard-port={PORT}", "--port=0", "--num-cpus=2", f"--temp-dir={folder}"]
        head = subprocess.Popen(
            [RAY, "start", "--head", "--block", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for_port(head)
            client = JobSubmissionClient(f"http://127.0.0.1:{PORT}")
            warm_up(client)
            posts, firsts = zip(*(first_line(client) for _ in range(TIMES)), strict=True)
            figures = {
                "post": statistics.median(posts),
                "first_line": statistics.median(firsts),
                "twenty": statistics.median(twenty(client) for _ in range(2)),
                "lines": statistics.median(lines_a_second(client) for _ in range(3)),
                "stop": statistics.median(stop(client) for _ in range(TIMES)),
            }
        finally:
            head.terminate()
            head.wait()
    print(json.dumps(figures))


def wait_for_port(head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while socket.socket().connect_ex(("127.0.0.1", PORT)):
        if head.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("Ray did not start.")
        time.sleep(0.1)


def warm_up(client: Any) -> None:
    """Run a job once; Ray refuses them while it is still starting."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            first_line(client)
            return
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def first_line(client: Any) -> tuple[float, float]:
    began = time.perf_counter()
    job = client.submit_job(entrypoint=HELLO)
    posted = time.perf_counter() - began
    asyncio.run(read(client, job, "hello"))
    return posted, time.perf_counter() - began


def twenty(client: Any) -> float:
    began = time.perf_counter()
    jobs = [client.submit_job(entrypoint=HELLO) for _ in range(20)]
    for job in jobs:
        wait(client, job)
    return time.perf_counter() - began


def lines_a_second(client: Any) -> float:
    job = client.submit_job(entrypoint=f"{sys.executable} {FLOOD} --lines {LINES}")
    return asyncio.run(read(client, job, f"{LINES - 1:08d}", count=LINES))


def stop(client: Any) -> float:
    job = client.submit_job(entrypoint=SLEEP)
    asyncio.run(read(client, job, "ready"))
    began = time.perf_counter()
    client.stop_job(job)
    wait(client, job)
    return time.perf_counter() - began


async def read(client: Any, job: str, last: str, count: int = 0) -> float:
    """Follow a job's log until it holds `last`; give `count` a second since its first text."""
    began = 0.0
    async for text in client.tail_job_logs(job):
        began = began or time.perf_counter()
        if last in text:
            break
    return count / max(time.perf_counter() - began, 1e-9)


def wait(client: Any, job: str) -> None:
    while client.get_job_status(job).value not in TERMINAL:
        time.sleep(0.02)


if __name__ == "__main__":
    main()
