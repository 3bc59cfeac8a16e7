"""Clients that send slowly, never end or only hold on: told so, and no trouble to others."""

import http.client
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from deploy.modelserver.http.messages import Reply, RestRequest, RestResponse
from deploy.modelserver.http.request_limits import (
    TOO_LARGE_HEADERS,
    TOO_LATE,
    TOO_MANY_HEADERS,
    TimeLimits,
)
from tests.config.server.launched import LaunchedProduct
from tests.config.server.serving import model_server, serving
from tests.waiting import wait_for
from workspace.compute.local.ports import free_port

pytestmark = pytest.mark.slow

IDLE = 10_000
FILES_BESIDE = 500


heard: list[Any] = []


async def application(scope: Any, receive: Any, send: Any) -> None:
    has_more = scope["path"] != "/unread"
    while has_more:
        message = await receive()
        heard.append(message)
        has_more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


SHORT = TimeLimits(header_seconds=0.6, body_seconds=0.6, idle_seconds=0.6)


def answer_at_once(request: RestRequest, reply: Reply) -> None:
    reply(RestResponse(204, b""))


PORTS = {
    "web": lambda: serving(application),
    "model server": lambda: model_server(answer_at_once),
}


@pytest.fixture(params=PORTS)
def any_port(request: pytest.FixtureRequest) -> Iterator[int]:
    with PORTS[request.param]() as port:
        yield port


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have little patience with clients."""
    monkeypatch.setattr("config.server.write_coalescing.TIMES", SHORT)
    monkeypatch.setattr("config.server.write_coalescing.CHECK_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("deploy.modelserver.http.connection.TIMES", SHORT)


@pytest.fixture
def any_short_port(short_times: None, any_port: int) -> int:
    return any_port


@pytest.fixture
def short_port(short_times: None) -> Iterator[int]:
    with serving(application) as port:
        yield port


def all_of(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def answer_to(port: int, pieces: Iterable[bytes]) -> bytes:
    """Send for as long as the server takes it; return what it says until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:

        def send() -> None:
            try:
                for piece in pieces:
                    connection.sendall(piece)
            except OSError:
                return

        sender = threading.Thread(target=send)
        sender.start()
        try:
            return all_of(connection)
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            sender.join()


def trickle(start: bytes, piece: bytes) -> Iterator[bytes]:
    yield start
    pause = threading.Event()
    while not pause.wait(0.05):
        yield piece


START = b"POST / HTTP/1.1\r\nHost: x\r\n"
BODY = START + b"Content-Length: 1000000\r\n\r\n"
UNREAD = START.replace(b"POST /", b"POST /unread")
LONG = b"Content-Length: 1000000000\r\n\r\n"
MEBIBYTE = bytes(1024 * 1024).replace(b"\0", b"a")


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ((START + b"X: ", *[MEBIBYTE] * 60), TOO_LARGE_HEADERS),
        ((START, *[b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(99)]), TOO_LARGE_HEADERS),
        ((START, *[b"X-%d: a\r\n" % n for n in range(10_000)], b"\r\n"), TOO_MANY_HEADERS),
        ((b"GET /" + MEBIBYTE, b" HTTP/1.1\r\n\r\n"), TOO_LARGE_HEADERS),
        (
            (START + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: ", MEBIBYTE),
            TOO_LARGE_HEADERS,
        ),
    ],
    ids=["60 MB in one field", "99 large fields", "10,000 fields", "a path of 1 MB", "a trailer"],
)
def test_a_head_without_bounds_is_refused_in_words(
    any_port: int, pieces: tuple[bytes, ...], reason: str
) -> None:
    received = answer_to(any_port, pieces)
    assert received.startswith(b"HTTP/1.1 431 ")
    assert reason.encode() in received


def test_a_head_of_the_largest_size_is_taken(any_port: int) -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 600) for number in range(90))
    received = answer_to(any_port, [START, fields, b"Connection: close\r\n\r\n"])
    assert received.startswith(b"HTTP/1.1 204 ")


def test_what_is_no_http_is_told_so(any_port: int) -> None:
    assert answer_to(any_port, [b"\x16\x03\x01 hello\r\n\r\n"]).startswith(b"HTTP/1.1 400 ")


def test_a_refused_head_does_not_take_the_place_of_another_answer(any_port: int) -> None:
    """A proxy that sends requests of several people on one connection must not mix them up."""
    received = answer_to(any_port, [BODY, MEBIBYTE[:1_000_000] + START + b"X: ", MEBIBYTE])
    assert received.count(b"HTTP/1.1 ") <= 2
    assert b" 431 " not in received or received.index(b" 204 ") < received.index(b" 431 ")


def test_a_head_that_never_ends_is_told_to_be_too_late(any_short_port: int) -> None:
    with socket.create_connection(("127.0.0.1", any_short_port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Endless: ")
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_trickles_in_is_given_up_all_the_same(any_short_port: int) -> None:
    received = answer_to(any_short_port, trickle(b"GET / HTTP/1.1\r\nX: ", b"a"))
    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_says_nothing_is_closed_without_a_word(any_short_port: int) -> None:
    with socket.create_connection(("127.0.0.1", any_short_port), timeout=20) as connection:
        assert all_of(connection) == b""


def test_a_connection_that_is_used_stays(any_short_port: int) -> None:
    with socket.create_connection(("127.0.0.1", any_short_port), timeout=20) as connection:
        enough = time.monotonic() + 2
        while time.monotonic() < enough:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize(
    "pieces",
    [lambda: [BODY], lambda: [BODY, b"x"], lambda: trickle(BODY, b"x")],
    ids=["never", "one byte", "trickle"],
)
def test_a_body_that_does_not_arrive_is_told_to_be_too_late(
    any_short_port: int, pieces: Callable[[], Iterable[bytes]]
) -> None:
    received = answer_to(any_short_port, pieces())
    assert received.startswith(b"HTTP/1.1 408 ")
    assert TOO_LATE.encode() in received


def test_the_application_hears_that_the_rest_of_a_slow_body_does_not_come(short_port: int) -> None:
    heard.clear()
    answer_to(short_port, trickle(BODY, b"x"))
    wait_for(lambda: heard[-1]["type"] == "http.disconnect", "the end of the request", 60)


def test_a_body_that_keeps_its_rate_is_taken(any_short_port: int) -> None:
    with socket.create_connection(("127.0.0.1", any_short_port), timeout=20) as connection:
        connection.sendall(START + b"Content-Length: 100000\r\n\r\n")
        pause = threading.Event()
        for _ in range(10):
            pause.wait(0.12)
            connection.sendall(b"x" * 10_000)
        assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")


def test_a_body_that_nobody_wants_to_read_does_not_stay_open_either(
    short_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("config.server.write_coalescing.DRAIN_SECONDS", 0.5)
    received = answer_to(short_port, trickle(UNREAD + LONG, b"x" * 10_000))
    assert received.startswith(b"HTTP/1.1 204 ")
    assert received.count(b"HTTP/1.1") == 1


# The whole web process


class Web:
    """The web process alone, and who asks its gateway without a key."""

    def __init__(self, port: int) -> None:
        self.address = ("127.0.0.1", port)

    def ask(self) -> tuple[int, list[str]]:
        """Return the status and the fields of the answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        with closing(connection):
            connection.request("POST", "/serve/default/digits/v1/models/digits:predict", b"{}")
            answer = connection.getresponse()
            return answer.status, list(json.load(answer))


@pytest.fixture
def web(tmp_path: Path, product_database: dict[str, str]) -> Iterator[Web]:
    port = free_port(())
    variables = {
        "TRAINYARD_HOME": str(tmp_path / "yard"),
        "TRAINYARD_PORT": str(port),
        "TRAINYARD_GRPC_PORT": "0",
        **product_database,
    }
    prepared = LaunchedProduct(
        tmp_path, "-m", "config.server.part", "database", environment=variables
    )
    assert prepared.wait_for_end(180) == 0, prepared.said
    launched = LaunchedProduct(tmp_path, "-m", "config.server.part", "web", environment=variables)
    try:
        launched.wait_to_hear("Trainyard is up", seconds=180)
        yield Web(port)
        launched.stop()
    finally:
        launched.end()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have as many files open as the connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + FILES_BESIDE:
        pytest.skip(f"{hard} open files are too few for {IDLE} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE + FILES_BESIDE), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.processes
@pytest.mark.usefixtures("many_files")
def test_ten_thousand_idle_connections_keep_nobody_from_the_gateway(web: Web) -> None:
    with ExitStack() as stack:
        for number in range(IDLE):
            held = stack.enter_context(socket.create_connection(web.address, timeout=20))
            if number % 2:
                held.sendall(b"POST /serve/default/digits/v1/models/digits:predict HTTP/1.1\r\n")
        assert web.ask() == (401, ["error"])
    assert web.ask() == (401, ["error"])
