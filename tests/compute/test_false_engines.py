"""What a false engine can make the server do, and what it can make it tell."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.workspace.targets.not_engines import (
    Answer,
    a_web_page,
    closed_port,
    engine_of_version,
    http_server,
    text_server,
)
from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError
from workspace.compute.connection_test import ServerAddress
from workspace.compute.docker.backend import DockerBackend
from workspace.compute.outbound import OutboundPolicy
from workspace.compute.swarm.backend import SwarmBackend

pytestmark = pytest.mark.slow

SECRET = "the-inner-secret"
INNER = "10.99.99.99"
ALLOWING = OutboundPolicy(is_restricted=True, allowed_networks=("10.0.0.0/8",))


def access_of(address: str, policy: OutboundPolicy | None = None) -> TargetAccess:
    return TargetAccess(
        home="/nowhere", installation="t", address=address, outbound=policy or OutboundPolicy()
    )


def errors_of(access: TargetAccess) -> list[str]:
    """Return what each question to an engine says went wrong."""
    backend = DockerBackend(access)
    told = []
    for ask in (backend.check, backend.machines_id, lambda: backend.observe("run-1-1")):
        with pytest.raises(BackendError) as refused:
            ask()
        told.append(str(refused.value))
    *_, steps = backend.connection_test(ServerAddress("http://127.0.0.1:8000"))
    return [*told, *(step.said for step in steps)]


@contextmanager
def redirecting(to: str, after_version: bool = False) -> Iterator[int]:
    """Serve an engine that redirects; `after_version` it has been taken for one."""
    version = engine_of_version("1.44", "25.0")

    def answer(path: str) -> Answer:
        if after_version and path.endswith("/version"):
            return version(path)
        return 307, f"text/html\r\nLocation: {to}{path}", SECRET

    with http_server(answer) as port:
        yield port


@pytest.mark.parametrize("after_version", [False, True])
def test_a_redirect_is_not_followed_and_nothing_of_it_is_told(after_version: bool) -> None:
    asked: list[str] = []

    def inner(path: str) -> Answer:
        asked.append(path)
        return 500, "application/json", json.dumps({"message": SECRET})

    with (
        http_server(inner) as inner_port,
        redirecting(f"http://127.0.0.1:{inner_port}", after_version) as port,
    ):
        told = errors_of(access_of(f"tcp://127.0.0.1:{port}"))
    assert asked == []
    assert SECRET not in "".join(told)


@pytest.mark.parametrize(
    "body", [SECRET, json.dumps({"secret": SECRET}), json.dumps([SECRET])], ids=str
)
@pytest.mark.parametrize("status", [200, 400, 404, 500])
def test_the_body_of_a_stranger_is_not_quoted(status: int, body: str) -> None:
    with http_server(lambda path: (status, "application/json", body)) as port:
        told = errors_of(access_of(f"tcp://127.0.0.1:{port}"))
    assert SECRET not in "".join(told)


@pytest.mark.parametrize(
    "info",
    ["{}", "[]", "null", "1", '"x"', '{"Name": "a", "NCPU": "x"}', '{"Swarm": 7, "Runtimes": 7}'],
)
def test_an_engine_that_describes_itself_as_no_engine_does_is_told_so(info: str) -> None:
    """The supervisor asks all engines in one loop: none may break it."""
    version = engine_of_version("1.44", "25.0")

    def answer(path: str) -> Answer:
        return (200, "application/json", info) if path.endswith("/info") else version(path)

    with http_server(answer) as port:
        backend = DockerBackend(access_of(f"tcp://127.0.0.1:{port}"))
        for ask in (backend.check, backend.machines_id):
            with pytest.raises(BackendError, match=r"What answers|does not"):
                ask()


def test_nothing_tells_what_listens_on_an_inner_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.create_connection

    def connect_here(address: tuple[str, int], timeout: float | None = None) -> socket.socket:
        assert address[0] == INNER
        return connect(("127.0.0.1", address[1]), timeout)

    monkeypatch.setattr(socket, "create_connection", connect_here)
    servers: list[Callable[[], AbstractContextManager[int]]] = [
        lambda: http_server(a_web_page),
        lambda: http_server(lambda path: (404, "application/json", '{"message": "x"}')),
        lambda: text_server(b"220 mail.example.org ESMTP\r\n"),
        lambda: redirecting("http://127.0.0.1:1"),
        closed,
    ]
    told = set()
    for server in servers:
        with server() as port:
            errors = errors_of(access_of(f"tcp://{INNER}:{port}", ALLOWING))
            told.add("\n".join(errors).replace(str(port), "PORT"))
    assert len(told) == 1, told


@contextmanager
def closed() -> Iterator[int]:
    yield closed_port()


@pytest.mark.parametrize("address", ["unix:///var/run/docker.sock", "ssh://root@198.51.100.7"])
def test_a_restricted_target_uses_neither_a_socket_nor_the_servers_ssh_key(address: str) -> None:
    backend = DockerBackend(access_of(address, OutboundPolicy(is_restricted=True)))
    with pytest.raises(BackendError, match="Only the installation's admin"):
        backend.check()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("127.0.0.2", "this server"),
        ("inner.example.org", "this server"),
        ("198.51.100.9%eth0", "this server"),
        ("198.51.100.9", ""),
    ],
)
def test_a_swarm_leads_to_no_node_but_by_the_address_of_another_machine(
    monkeypatch: pytest.MonkeyPatch, told: str, said: str
) -> None:
    """The gateway would pass scoring requests to it, and its answers back."""
    services = [{"ID": "s", "Spec": {"Labels": {"trainyard.process": "replica-0"}}}]

    class Api:
        def services(self, filters: object) -> list[object]:
            return list(services)

        def tasks(self, filters: object) -> list[object]:
            ports = [{"TargetPort": 2222, "PublishedPort": 6379}]
            return [
                {
                    "ServiceID": "s",
                    "CreatedAt": "1",
                    "NodeID": "n",
                    "Status": {"State": "running", "PortStatus": {"Ports": ports}},
                }
            ]

        def nodes(self) -> list[object]:
            status = {"State": "ready", "Addr": told}
            return [{"ID": "n", "Status": status, "Description": {"Hostname": "n"}}]

    class Client:
        api = Api()

    monkeypatch.setattr("workspace.compute.engine.client.Engine.client", lambda self: Client())
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, **options: [(0, 0, 0, "", (resolved(host), port))]
    )
    for policy, ports in (
        (OutboundPolicy(), (f"{told}:6379",)),
        (OutboundPolicy(is_restricted=True), () if said else (f"{told}:6379",)),
    ):
        backend = SwarmBackend(access_of("tcp://198.51.100.7:2376", policy))
        (status,) = backend.observe("service-1")
        assert status.published_ports == ports
    assert said in status.reason


def resolved(host: str) -> str:
    """Resolve a name as a stranger's server does who is asked for the first time."""
    return host if host.startswith("127.") else "198.51.100.9"
