"""Scoring at 200 requests a second while a service goes to another version, and back."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.bench import Bench
from bench.measure import Line
from bench.site import API, Site, until

RATE = 200
CONNECTIONS = 16
ROWS = [0.0, 10.0, 20.0, 30.0]
BODY = json.dumps({"instances": ROWS}).encode()
SETTLED_SECONDS = 3.0
PATIENCE_SECONDS = 300


@dataclass
class Told:
    """What came back: which version answered each request, and what was no answer of a version."""

    versions: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    mixed: list[bytes] = field(default_factory=list)

    def note(self, head: bytes, body: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 200 "):
            self.failed.append(f"{head[:30]!r} {body[:200]!r}")
            return
        added = {
            value - row for value, row in zip(json.loads(body)["predictions"], ROWS, strict=True)
        }
        if added in ({1.0}, {2.0}):
            self.versions[int(added.pop())] += 1
        else:
            self.mixed.append(body)


def measure(bench: Bench) -> Iterator[Line]:
    site = bench.site
    bench.say("making two versions of a model")
    for number in (1, 2):
        _register(site, number)
    made = site.post("/services", {"name": "plus", "model": "plus:1"})
    _wait_until_served(site, 1)
    told, is_over = Told(), threading.Event()
    address = f"{site.url}{API}/services/plus/score"
    client = threading.Thread(
        target=lambda: asyncio.run(_ask(address, made["secrets"]["primary"], told, is_over))
    )
    began = time.monotonic()
    client.start()
    try:
        bench.say("rolling out, and back")
        time.sleep(SETTLED_SECONDS)
        site.call("PATCH", "/services/plus", b'{"model": "plus:2"}', "application/json")
        _wait_until_served(site, 2)
        time.sleep(SETTLED_SECONDS)
        site.post("/services/plus/rollback", {})
        _wait_until_served(site, 3)
        time.sleep(SETTLED_SECONDS)
    finally:
        is_over.set()
        client.join()
        took = time.monotonic() - began
        site.call("POST", "/services/plus/stop")
    if not (told.versions[1] and told.versions[2]):
        raise RuntimeError(f"Not both versions answered: {told.versions}")
    total = sum(told.versions.values())
    for words in told.failed[:3]:
        bench.say(words)
    yield Line("requests failed through a rollout and back", len(told.failed), "", 0)
    yield Line("answers not of exactly one version", len(told.mixed), "", 0)
    yield Line("requests a second meanwhile", total / took, "rps", 0.95 * RATE, is_least=True)


def _register(site: Site, number: int) -> None:
    run = site.submit("plus", "--number", str(number))
    site.wait(run)
    known = {"framework": "TensorFlow", "framework_version": "2.21"}
    site.post("/models", {"run": run, "path": "outputs/plus", "name": "plus", **known})


def _wait_until_served(site: Site, number: int) -> None:
    """Wait until every replica that lives is a ready one of this revision."""

    def is_so() -> bool:
        service = site.call("GET", "/services/plus")
        newest = service["revisions"][0]
        if service["state"] == "Failed" or newest["failure"]:
            raise RuntimeError(service["state_reason"])
        replicas = {(one["revision"], one["state"]) for one in service["replicas"]}
        return bool(service["state"] == "Healthy" and replicas == {(number, "ready")})

    until(is_so, f"revision {number} serves alone", PATIENCE_SECONDS, every=0.1)


async def _ask(address: str, key: str, told: Told, is_over: threading.Event) -> None:
    """Send requests at a steady rate, whatever comes back of those before."""
    place = urlsplit(address)
    head = (
        f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    ).encode()

    async def client(place_in_turn: int) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        due = time.perf_counter() + place_in_turn / RATE
        while not is_over.is_set():
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            due += CONNECTIONS / RATE
            try:
                writer.write(head + BODY)
                answer = await reader.readuntil(b"\r\n\r\n")
                told.note(answer, await reader.readexactly(_length(answer)))
            except (OSError, EOFError) as error:
                told.failed.append(repr(error))
                reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(CONNECTIONS)))


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise EOFError("the answer does not say how long it is")
