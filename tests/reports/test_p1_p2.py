"""P1, P2: an engine that was installed a minute ago works at the first try."""

import asyncio
import socket
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from config.server import container_listeners
from config.server.container_listeners import ContainerListeners
from tests.factories import make_target
from workspace.compute.engine import bridge
from workspace.compute.engine.bridge import address_of_bridge, address_of_interface
from workspace.compute.engine.client import Engine
from workspace.compute.engine.discovery import LocalEngine, find_local_engine
from workspace.models import Team

BRIDGE = "172.30.0.5"
NEWBORN = {"Options": {}, "IPAM": {"Config": [{"Subnet": "172.30.0.0/16"}]}}


@pytest.mark.parametrize(
    ("network", "is_here", "address"),
    [
        ({**NEWBORN, "IPAM": {"Config": [{"Gateway": "10.0.0.1"}]}}, True, "10.0.0.1"),
        (NEWBORN, True, BRIDGE),
        (NEWBORN, False, "172.30.0.1"),
        ({"IPAM": {"Config": [{"Subnet": "10.1.0.0/24"}]}}, True, "10.1.0.1"),
        ({**NEWBORN, "Options": {bridge.BRIDGE_OPTION: "br-none"}}, True, "172.30.0.1"),
        (
            {"IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Subnet": "10.1.0.0/24"}]}},
            False,
            "10.1.0.1",
        ),
        ({"IPAM": {"Config": None}}, False, ""),
        ({"IPAM": None}, False, ""),
    ],
    ids=[
        "gateway",
        "newborn",
        "newborn elsewhere",
        "another's bridge",
        "no such bridge",
        "IPv6",
        "nothing",
        "null",
    ],
)
def test_p1_the_address_of_a_bridge_is_known_at_an_engines_first_start(
    monkeypatch: pytest.MonkeyPatch, network: dict[str, Any], is_here: bool, address: str
):
    monkeypatch.setattr(
        bridge, "address_of_interface", lambda name: BRIDGE if name == "docker0" else ""
    )
    assert address_of_bridge(network, is_here=is_here) == address


@pytest.mark.parametrize(
    "configured",
    [["text"], [{"Subnet": "nonsense"}], [{"Subnet": "10.0.0.1/32"}], 7],
    ids=["text", "no subnet", "a subnet of one address", "a number"],
)
def test_p1_an_engine_whose_networks_make_no_sense_is_none(
    monkeypatch: pytest.MonkeyPatch, configured: Any
):
    network = SimpleNamespace(attrs={"IPAM": {"Config": configured}})
    client = SimpleNamespace(networks=SimpleNamespace(list=lambda **asked: [network]))
    monkeypatch.setattr(Engine, "asked", lambda engine, what: nullcontext(client))
    assert find_local_engine("unix:///here.sock") is None


def test_p1_interfaces_of_this_machine_tell_their_addresses():
    assert address_of_interface("lo") == "127.0.0.1"
    assert address_of_interface("no-such-interface-at-all") == ""


@pytest.mark.django_db(transaction=True)
def test_p2_the_web_listens_once_an_engine_answers(
    team: Team, monkeypatch: pytest.MonkeyPatch, settings: Any
):
    settings.DOCKER_HOST = "unix:///nothing.sock"
    make_target(team, "engine", kind="docker", address="unix:///later.sock")
    answering: dict[str, LocalEngine] = {}
    served: list[str] = []
    monkeypatch.setattr(container_listeners, "find_local_engine", answering.get)

    async def serve(listener: socket.socket) -> None:
        served.append(listener.getsockname()[0])
        listener.close()

    async def look_three_times() -> list[list[str]]:
        settings.TRAINYARD_PORT = _free_port()
        listeners, seen = ContainerListeners(), []
        for _ in range(2):
            await listeners.look(serve)
            seen.append(list(served))
            answering["unix:///later.sock"] = LocalEngine("unix:///later.sock", "127.0.0.9")
        await listeners.look(serve)
        assert listeners.hosts == {"127.0.0.9"}
        return [*seen, list(served)]

    assert asyncio.run(look_three_times()) == [[], ["127.0.0.9"], ["127.0.0.9"]]


def _free_port() -> int:
    with socket.create_server(("127.0.0.9", 0)) as probe:
        return int(probe.getsockname()[1])
