"""Load on an HTTP address, by wrk where it is installed, else by a small client of our own."""

import asyncio
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.measure import percentile

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Load:
    p50: float
    rps: float
    p99: float


def load(
    url: str, body: bytes, headers: Mapping[str, str], *, connections: int, seconds: int
) -> Load:
    """POST the body again and again over so many connections; any other answer than 200 raises."""
    headers = {"Content-Type": "application/json", **headers}
    if shutil.which("wrk"):
        return _by_wrk(url, body, headers, connections, seconds)
    return asyncio.run(_by_ourselves(url, body, headers, connections, seconds))


def _by_wrk(
    url: str, body: bytes, headers: Mapping[str, str], connections: int, seconds: int
) -> Load:
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{body.decode()}]==]"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join(lines))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency"]
        said = subprocess.run(
            [*command, "-s", script.name, url], check=True, capture_output=True, text=True
        ).stdout
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not median or not late or not rate or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk met trouble at {url}:\n{said}")
    p50, p99 = (float(found[1]) * UNITS[found[2]] for found in (median, late))
    return Load(p50, float(rate[1]), p99)


async def _by_ourselves(
    url: str, body: bytes, headers: Mapping[str, str], connections: int, seconds: int
) -> Load:
    place = urlsplit(url)
    head = f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = head.encode() + b"\r\n" + body
    deadline = time.perf_counter() + seconds
    times: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while (began := time.perf_counter()) < deadline:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", answer)
            if not answer.startswith(b"HTTP/1.1 200 ") or not length:
                raise RuntimeError(f"{url} answered {answer.decode()}")
            await reader.readexactly(int(length[1]))
            times.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return Load(statistics.median(times), len(times) / seconds, percentile(times, 0.99))
