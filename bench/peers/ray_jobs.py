"""Run in Ray's virtualenv: measure Ray Jobs and print the figures as JSON."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
RAY = str(Path(sys.executable).with_name("ray"))
PORT = 18265
HELLO = f"{sys.executable} -c \"print('hello')\""
SLEEP = f"{sys.executable} -c \"import time; print('ready', flush=True); time.sleep(600)\""
FLOOD = Path(__file__).resolve().parent.parent / "programs" / "flood.py"
LINES = 200_000
TIMES = 5
TERMINAL = {"SUCCEEDED", "FAILED", "STOPPED"}


def main() -> None:
    from ray.job_submission import JobSubmissionClient

    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        head = [RAY, "start", "--head", "--port=0", f"--dashboard-port={PORT}", "--num-cpus=2"]
        run_quietly(*head, f"--temp-dir={folder}")
        try:
            client = JobSubmissionClient(f"http://127.0.0.1:{PORT}")
            first_line(client)
            posts, firsts = zip(*(first_line(client) for _ in range(TIMES)), strict=True)
            figures = {
                "post": statistics.median(posts),
                "first_line": statistics.median(firsts),
                "twenty": statistics.median(twenty(client) for _ in range(2)),
                "lines": statistics.median(lines_a_second(client) for _ in range(3)),
                "stop": statistics.median(stop(client) for _ in range(TIMES)),
            }
        finally:
            run_quietly(RAY, "stop", "--force")
    print(json.dumps(figures))


def run_quietly(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


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
