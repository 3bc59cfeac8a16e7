"""Where this server reaches the ports that containers publish, and to whom they are open."""

import pytest

from workspace.compute.access import TargetAccess
from workspace.compute.docker.published_ports import (
    PortPublishing,
    port_publishing,
    published_ports_of,
)
from workspace.compute.engine import machine
from workspace.compute.engine.client import Engine

GATEWAY = "192.0.2.1"  # of no machine


@pytest.fixture(autouse=True)
def gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gateway", lambda engine: GATEWAY)


def engine(address: str, server_url: str = "http://127.0.0.1:8000") -> Engine:
    return Engine(TargetAccess(home="", server_url=server_url, address=address))


@pytest.mark.parametrize(
    ("address", "server_url", "door"),
    [
        (
            "unix:///run/docker.sock",
            "http://127.0.0.1:8000",
            PortPublishing("127.0.0.1", "127.0.0.1"),
        ),
        ("unix:///run/docker.sock", "http://web:8000", PortPublishing(GATEWAY, GATEWAY)),
        ("tcp://127.0.0.1:2375", "http://127.0.0.1:8000", PortPublishing("127.0.0.1", "127.0.0.1")),
        ("tcp://gpu-box:2376", "http://127.0.0.1:8000", PortPublishing("0.0.0.0", "gpu-box")),  # noqa: S104
        ("ssh://ana@gpu-box", "http://web:8000", PortPublishing("0.0.0.0", "gpu-box")),  # noqa: S104
    ],
    ids=["beside it", "in a container beside it", "by a tunnel", "by tcp", "by ssh"],
)
def test_ports_are_open_no_wider_than_this_server_needs(
    address: str, server_url: str, door: PortPublishing
) -> None:
    assert port_publishing(engine(address, server_url)) == door


def test_a_gateway_that_is_an_address_of_ours_is_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "gateway", lambda engine: "127.0.0.1")
    found = port_publishing(engine("unix:///run/docker.sock", "https://trainyard.example"))
    assert found == PortPublishing("127.0.0.1", "127.0.0.1")


def test_doors_are_in_the_order_of_the_ports_inside_each_once() -> None:
    listed = [
        {"PrivatePort": 2223, "PublicPort": 49153, "IP": "0.0.0.0", "Type": "tcp"},  # noqa: S104
        {"PrivatePort": 2222, "PublicPort": 49154, "IP": "0.0.0.0", "Type": "tcp"},  # noqa: S104
        {"PrivatePort": 2222, "PublicPort": 49154, "IP": "::", "Type": "tcp"},
        {"PrivatePort": 8500, "Type": "tcp"},
    ]
    found = published_ports_of(listed, engine("tcp://gpu-box:2376"))
    assert found == ("gpu-box:49154", "gpu-box:49153")


def test_what_has_published_nothing_has_no_doors() -> None:
    assert (
        published_ports_of([{"PrivatePort": 8500, "Type": "tcp"}], engine("tcp://gpu-box:2376"))
        == ()
    )
