"""Scoring through the gateway beside the same model server asked directly, and its memory (G16)."""

import json
import statistics
from collections.abc import Iterator

from bench import procfs
from bench.bench import Bench
from bench.load import Load, load
from bench.measure import Line, RowSkipped
from bench.site import Site, until

BODY = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()
ROUNDS, SECONDS = 5, 2
WARM_REQUESTS, MANY_REQUESTS = 100_000, 1_000_000
MOST_GROWTH_MB, MB = 10, 1_000_000


def measure(bench: Bench) -> Iterator[Line]:
    site = bench.site
    bench.say("deploying a model")
    key = _key_of_half(site)
    headers = {"Authorization": f"Bearer {key}"}
    gateway = f"{site.url}/api/v1/teams/default/services/half/score"
    direct = f"http://127.0.0.1:{_port_of_replica(site)}/v1/models/half:predict"

    def alternating(connections: int) -> tuple[list[Load], list[Load]]:
        for url in (gateway, direct):
            load(url, BODY, headers, connections=connections, seconds=1)
        pairs = [
            (
                load(gateway, BODY, headers, connections=connections, seconds=SECONDS),
                load(direct, BODY, {}, connections=connections, seconds=SECONDS),
            )
            for _ in range(ROUNDS)
        ]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    ours, floor = (statistics.median(one.p50 for one in some) for some in alternating(1))
    yield Line(
        "scoring through the gateway, p50 at c=1",
        1000 * ours,
        "ms",
        1000 * floor + 1,
        "direct",
        1000 * floor,
    )
    ours, floor = (statistics.median(one.rps for one in some) for some in alternating(8))
    yield Line(
        "scoring through the gateway at c=8",
        ours,
        "rps",
        0.6,
        "direct",
        floor,
        of_ratio=True,
        is_least=True,
    )


def measure_memory(bench: Bench) -> Iterator[Line]:
    """Weigh the web process before and after very many requests."""
    if not bench.has_peers:
        raise RowSkipped("its million requests are sent with FULL=1")
    site = bench.site
    bench.say("deploying a model")
    headers = {"Authorization": f"Bearer {_key_of_half(site)}"}
    gateway = f"{site.url}/api/v1/teams/default/services/half/score"
    [web] = [pid for pid in procfs.tree(site.pid) if procfs.name_of(pid) == "trainyard: web"]

    def send(count: int) -> None:
        sent = 0.0
        while sent < count:
            bench.say(f"{sent:,.0f} of {count:,} requests sent")
            seconds = 10
            sent += seconds * load(gateway, BODY, headers, connections=8, seconds=seconds).rps

    send(WARM_REQUESTS)
    before = procfs.pss_bytes(web)
    send(MANY_REQUESTS)
    yield Line(
        f"the web's memory after {MANY_REQUESTS:,} more requests",
        (procfs.pss_bytes(web) - before) / MB,
        "MB more",
        MOST_GROWTH_MB,
        "before",
        before / MB,
    )


def _key_of_half(site: Site) -> str:
    """Return a key of the service half, which is made if it is not there."""
    if any(service["name"] == "half" for service in site.call("GET", "/services")):
        key: str = site.post("/services/half/keys", {})["key"]
        return key
    return _deploy(site)


def _deploy(site: Site) -> str:
    """Train, register and deploy a model as a user does; return a key of the service."""
    number = site.submit("steps", "--steps", "10")
    site.wait(number)
    site.post(
        "/models",
        {
            "run": number,
            "path": "outputs/half",
            "name": "half",
            "framework": "TensorFlow",
            "framework_version": "2.21",
        },
    )
    made = site.post("/services", {"name": "half", "model": "half:1"})

    def is_healthy() -> bool:
        service = site.call("GET", "/services/half")
        if service["state"] == "Failed":
            raise RuntimeError(service["state_reason"])
        return bool(service["state"] == "Healthy")

    until(is_healthy, "the service is healthy", 300, every=0.2)
    key: str = made["secrets"]["primary"]
    return key


def _port_of_replica(site: Site) -> int:
    """Return where the local target has the replica listen."""
    [ports] = site.home.glob("local/service-*/ports.json")
    [[port, _]] = json.loads(ports.read_text()).values()
    return int(port)
