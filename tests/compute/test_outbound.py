"""Where the server may go for people: never to itself, and inside only where that is allowed."""

import socket
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace.compute.outbound import INNER_NETWORKS, ForbiddenAddress, OutboundPolicy

RESTRICTED = OutboundPolicy(is_restricted=True)
INNER = [
    "127.0.0.1",
    "127.8.8.8",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0",
    "0.0.0.0",  # noqa: S104
    "localhost",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fd00::1",
    "fe80::1",
    "ff02::1",
]


@pytest.mark.parametrize("host", INNER)
def test_a_restricted_way_leads_nowhere_inside(host: str) -> None:
    with pytest.raises(ForbiddenAddress):
        RESTRICTED.resolve(host, 80)
    assert OutboundPolicy().resolve(host, 80)


def test_all_refusals_read_alike_so_that_they_tell_nothing_of_the_network() -> None:
    told = set()
    for host in INNER:
        with pytest.raises(ForbiddenAddress) as refused:
            RESTRICTED.connect(host, 80, 1)
        told.add(str(refused.value).removeprefix(host))
    assert len(told) == 1


@given(st.sampled_from(INNER_NETWORKS), st.integers(0))
def test_no_address_of_an_inner_network_is_let_through(network: object, number: int) -> None:
    assert hasattr(network, "num_addresses")
    address = str(network[number % network.num_addresses])  # type: ignore[index]
    with pytest.raises(ForbiddenAddress):
        RESTRICTED.resolve(address, 80)


@pytest.mark.parametrize("host", ["192.0.2.1", "198.51.100.7", "8.8.8.8", "2606:4700::1111"])
def test_others_are_let_through(host: str) -> None:
    assert RESTRICTED.resolve(host, 80) == [host]


def test_an_allowed_network_is_let_through_but_for_this_machine() -> None:
    allowing = OutboundPolicy(is_restricted=True, allowed_networks=("10.0.0.0/8", "127.0.0.0/8"))
    assert allowing.resolve("10.1.2.3", 80) == ["10.1.2.3"]
    for host in ("127.0.0.1", "192.168.1.1", "169.254.169.254"):
        with pytest.raises(ForbiddenAddress):
            allowing.resolve(host, 80)


def test_a_name_is_refused_when_one_of_its_addresses_is_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, ["192.0.2.1", "127.0.0.1"])
    with pytest.raises(ForbiddenAddress):
        RESTRICTED.resolve("engine.example", 80)


def test_a_name_that_changes_between_question_and_connection_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as inner:
        port = inner.getsockname()[1]
        resolve_to(monkeypatch, ["192.0.2.1"], ["127.0.0.1"])
        gone_to: list[tuple[str, int]] = []

        def connect(address: tuple[str, int], timeout: float | None) -> socket.socket:
            gone_to.append(address)
            raise ConnectionRefusedError

        monkeypatch.setattr(socket, "create_connection", connect)
        with pytest.raises(ConnectionRefusedError):
            RESTRICTED.connect("engine.example", port, 1)
        assert gone_to == [("192.0.2.1", port)]
        with pytest.raises(ForbiddenAddress):
            RESTRICTED.connect("engine.example", port, 1)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """Have names resolve to each of some answers in turn."""
    left = list(answers)

    def answer(host: str, port: int, type: int) -> list[tuple[int, int, int, str, object]]:
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, type, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
