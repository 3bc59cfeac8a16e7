"""A real Docker Swarm of two nodes on one machine, each node in a network namespace of its own.

The nodes hang on a bridge like machines on a switch; this machine has an address on it too, where a
registry listens. Two GPUs that exist in name only are registered at each node. One test session
at a time has the swarm; images stay in the cache for the next.
"""

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from docker import DockerClient
from docker.errors import APIError

from tests.docker.engine import (
    BASE_IMAGE,
    CACHE,
    Engine,
    ensure_base_image,
    forget_networks,
    missing_for_an_engine,
    start_dockerd,
    stop_dockerd,
)
from tests.waiting import wait_for

FOLDER = CACHE / "swarm"
BRIDGE, HOST, NETWORK = "trainyard-swarm", "10.214.0.1", "10.214.0.0/24"
REGISTRY = f"{HOST}:5000"
BASE_REFERENCE = f"{REGISTRY}/base:latest"
START_SECONDS = 300
HEARTBEAT_NANOSECONDS = 2_000_000_000
GPU_UUIDS = ("a", "b")
FORWARDING = (
    ("filter", "FORWARD", "-i", BRIDGE, "-j", "ACCEPT"),
    ("filter", "FORWARD", "-o", BRIDGE, "-j", "ACCEPT"),
    ("nat", "POSTROUTING", "-s", NETWORK, "!", "-o", BRIDGE, "-j", "MASQUERADE"),
)
# Mounts in the namespace of a node what `ip netns exec` hides: the control groups.
ENTER = """
hostname "$1"; cgroups=$2; shift 2
printf '%s' "$cgroups" | while IFS='|' read -r source place kind options; do
  mkdir -p "$place"; mount -t "$kind" -o "$options" "$source" "$place"
done
exec "$@"
"""


@dataclass(frozen=True)
class SwarmNode:
    """One node: its engine, and its link to the others, which can be cut."""

    name: str
    address: str
    engine: Engine

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def link(self) -> str:
        return f"ty-{self.name}"

    @property
    def namespace(self) -> str:
        return f"trainyard-{self.name}"

    def cut(self) -> None:
        """Take the node off the network; what runs on it goes on."""
        _run("ip", "link", "set", self.link, "down")

    def restore(self) -> None:
        _run("ip", "link", "set", self.link, "up")

    def gpus(self) -> tuple[str, ...]:
        return tuple(f"GPU-{self.name}-{letter}" for letter in GPU_UUIDS)


@dataclass(frozen=True)
class Swarm:
    """A swarm that runs: the first node is its manager."""

    nodes: tuple[SwarmNode, ...]
    host: str = HOST
    registry: str = REGISTRY
    base: str = BASE_REFERENCE

    @property
    def manager(self) -> SwarmNode:
        return self.nodes[0]

    @property
    def address(self) -> str:
        return self.manager.engine.address

    def is_whole(self) -> bool:
        with self.manager.engine.client() as client:
            states = [node.attrs["Status"]["State"] for node in client.nodes.list()]
        return states == ["ready"] * len(self.nodes)

    @contextmanager
    def changed(self, name: str, **changes: str) -> Iterator[None]:
        """Set something of a node, such as its Availability, for a while."""
        with self.manager.engine.client() as client:
            (node,) = client.nodes.list(filters={"name": name})
            before = dict(node.attrs["Spec"])
            wait_for(lambda: _is_updated(node, {**before, **changes}), f"{name} changed")
            try:
                yield
            finally:
                wait_for(lambda: _is_updated(node, before), f"{name} as it was")

    def left_of(self, label: str) -> list[str]:
        """Name everything that carries a label, on any node."""
        found: list[str] = []
        by_label: dict[str, str | list[str] | bool] = {"label": label}
        with self.manager.engine.client() as client:
            found += [f"service {one.name}" for one in client.services.list(filters=by_label)]
            found += [f"secret {one.name}" for one in client.secrets.list(filters=by_label)]
            found += [f"config {one.name}" for one in client.configs.list(filters=by_label)]
        for node in self.nodes:
            with node.engine.client() as client:
                containers = client.containers.list(all=True, filters=by_label, ignore_removed=True)
                networks = client.networks.list(filters=by_label)
                found += [f"container {one.name} on {node.name}" for one in containers]
                found += [f"network {one.name} on {node.name}" for one in networks]
        return found


@pytest.fixture(scope="session")
def swarm() -> Iterator[Swarm]:
    """Yield a swarm of two nodes that are ready; its registry has the base image."""
    missing = missing_for_an_engine() or _missing_programs()
    if missing:
        pytest.skip(missing)
    with running_swarm() as running:
        yield running


@contextmanager
def running_swarm() -> Iterator[Swarm]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "session.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        nodes = tuple(
            SwarmNode(name, address, Engine(f"unix://{FOLDER}/{name}/docker.sock"))
            for name, address in (("node-1", "10.214.0.11"), ("node-2", "10.214.0.12"))
        )
        _take_down(nodes)
        registry = None
        try:
            _plug_in(nodes)
            registry = _start_registry()
            for node in nodes:
                _start_engine(node)
            made = Swarm(nodes)
            _join(made)
            _publish_base_image(made)
            yield made
        finally:
            _take_down(nodes)
            if registry is not None:
                registry.kill()
                registry.wait()


def _missing_programs() -> str:
    missing = [name for name in ("ip", "unshare", "docker-registry") if not shutil.which(name)]
    return f"these programs are missing: {', '.join(missing)}" if missing else ""


def _plug_in(nodes: tuple[SwarmNode, ...]) -> None:
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{HOST}/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    for table, *rule in FORWARDING:
        _run("iptables", "-w", "-t", table, "-I", *rule)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for node in nodes:
        inside = ("ip", "-n", node.namespace)
        _run("ip", "netns", "add", node.namespace)
        ends = ("type", "veth", "peer", "eth0", "netns", node.namespace)
        _run("ip", "link", "add", node.link, *ends)
        _run("ip", "link", "set", node.link, "master", BRIDGE, "up")
        _run(*inside, "address", "add", f"{node.address}/24", "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "route", "add", "default", "via", HOST)


def _start_engine(node: SwarmNode) -> None:
    node.folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(node.folder / "data/swarm", ignore_errors=True)  # of a session that was killed
    forget_networks(node.folder)
    enter = ("ip", "netns", "exec", node.namespace, "unshare", "--uts", "sh", "-ec", ENTER, "sh")
    resources = [f"--node-generic-resource=GPU={uuid}" for uuid in node.gpus()]
    start_dockerd(node.folder, *resources, prefix=(*enter, node.name, control_groups()))
    log = node.folder / "log"
    wait_for(node.engine.answers, f"an answer of {node.name}'s dockerd ({log})", START_SECONDS)


def control_groups() -> str:
    """Return the mounts of this machine's control groups, one a line."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return "".join(
        f"{source}|{place}|{kind}|{options}\n"
        for source, place, kind, options, *_ in mounts
        if place == "/sys/fs/cgroup" or place.startswith("/sys/fs/cgroup/")
    )


def _is_updated(node: Any, spec: dict[str, Any]) -> bool:
    """Set a node's settings, unless the swarm changed something of it at the same moment."""
    node.reload()
    try:
        node.update(spec)
    except APIError as error:
        if "out of sequence" not in str(error):
            raise
        return False
    return True


def _join(swarm: Swarm) -> None:
    with swarm.manager.engine.client() as client:
        client.swarm.init(
            advertise_addr=swarm.manager.address,
            listen_addr=f"{swarm.manager.address}:2377",
            dispatcher_heartbeat_period=HEARTBEAT_NANOSECONDS,
        )
        token = client.swarm.attrs["JoinTokens"]["Worker"]
    for node in swarm.nodes[1:]:
        with node.engine.client() as client:
            client.swarm.join([f"{swarm.manager.address}:2377"], token, advertise_addr=node.address)
    wait_for(swarm.is_whole, "a swarm of which all nodes are ready", START_SECONDS)


def _start_registry() -> "subprocess.Popen[bytes]":
    settings = FOLDER / "registry.yml"
    settings.write_text(
        "version: 0.1\n"
        "log: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {FOLDER}/registry}}}}\n"
        f"http: {{addr: '{REGISTRY}'}}\n"
    )
    with open(FOLDER / "registry.log", "wb") as log:
        started = subprocess.Popen(
            ["docker-registry", "serve", str(settings)], stdout=log, stderr=log
        )

    def answers() -> bool:
        assert started.poll() is None, (FOLDER / "registry.log").read_text()
        with suppress(httpx.TransportError):
            return httpx.get(f"http://{REGISTRY}/v2/").status_code == 200
        return False

    wait_for(answers, "an answer of the registry", START_SECONDS)
    return started


def _publish_base_image(swarm: Swarm) -> None:
    ensure_base_image(swarm.manager.engine)
    with swarm.manager.engine.client() as client:
        client.images.get(BASE_IMAGE).tag(BASE_REFERENCE)
        for line in client.images.push(BASE_REFERENCE, stream=True, decode=True):
            assert "error" not in line, line["error"]


def _take_down(nodes: tuple[SwarmNode, ...]) -> None:
    """Leave nothing but images: also of a session that was killed."""
    for node in nodes:
        if node.engine.answers():
            with node.engine.client() as client:
                _empty(client)
            stop_dockerd(node.folder)
        _quietly("ip", "link", "delete", node.link)
        _quietly("ip", "netns", "delete", node.namespace)
    for table, *rule in FORWARDING:
        _quietly("iptables", "-w", "-t", table, "-D", *rule)
    _quietly("ip", "link", "delete", BRIDGE)


def _empty(client: DockerClient) -> None:
    with suppress(APIError):  # it is in no swarm
        client.api.leave_swarm(force=True)
    for container in client.containers.list(all=True, ignore_removed=True):
        container.remove(force=True, v=True)
    client.volumes.prune()
    client.networks.prune()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def _quietly(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=False)
