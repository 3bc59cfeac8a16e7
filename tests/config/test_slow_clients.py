"""Clients that send slowly, never end or only hold on: told so, and no trouble to others."""

import asyncio
import http.client
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from config.joined_writes import HttpProtocol
from tests.config.launched import Launched
from tests.waiting import wait_for
from workspace.compute.local_machine import free_port

IDLE = 10_000
FILES_BESIDE = 500


async def application(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Serve with little patience."""
    monkeypatch.setattr("config.joined_writes.HEAD_SECONDS", 0.6)
    monkeypatch.setattr("config.joined_writes.LOOK_EVERY_SECONDS", 0.05)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(application, http=HttpProtocol, lifespan="off", log_level="warning")
    )
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
    )
    thread.start()
    wait_for(lambda: server.started, "the start of the server")
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(20)


def all_of(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def test_a_head_that_never_ends_is_told_to_be_too_late(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Endless: ")
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_trickles_in_is_given_up_all_the_same(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        ended = threading.Event()

        def trickle() -> None:
            try:
                connection.sendall(b"GET / HTTP/1.1\r\nX: ")
                while not ended.wait(0.05):
                    connection.sendall(b"a")
            except OSError:
                return

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            received = all_of(connection)
        except ConnectionResetError:
            received = b""
        finally:
            ended.set()
            thread.join()
    assert received == b"" or received.startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_says_nothing_is_closed_without_a_word(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        assert all_of(connection) == b""


def test_a_connection_that_is_used_stays(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.joined_writes.HEAD_SECONDS", 3)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        enough = time.monotonic() + 4
        while time.monotonic() < enough:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")


def test_a_body_that_takes_its_time_is_the_applications_affair(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        pause = threading.Event()
        for _ in range(10):
            pause.wait(0.12)
            connection.sendall(b"x")
        assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")


# The whole web process


class Web:
    """The web process alone, and who asks its gateway without a key."""

    def __init__(self, port: int) -> None:
        self.address = ("127.0.0.1", port)

    def ask(self) -> tuple[int, list[str]]:
        """Give the status and the fields of the answer."""
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
    prepared = Launched(tmp_path, "-m", "config.part", "database", environment=variables)
    assert prepared.wait_for_end(60) == 0, prepared.said
    launched = Launched(tmp_path, "-m", "config.part", "web", environment=variables)
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


@pytest.mark.usefixtures("many_files")
def test_ten_thousand_idle_connections_keep_nobody_from_the_gateway(web: Web) -> None:
    with ExitStack() as stack:
        for number in range(IDLE):
            held = stack.enter_context(socket.create_connection(web.address, timeout=20))
            if number % 2:
                held.sendall(b"POST /serve/default/digits/v1/models/digits:predict HTTP/1.1\r\n")
        assert web.ask() == (401, ["error"])
    assert web.ask() == (401, ["error"])
