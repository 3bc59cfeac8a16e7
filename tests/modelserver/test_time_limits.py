"""How long a client may take, with a clock that the tests turn."""

import asyncio
from typing import Any

import pytest

from deploy.modelserver.connection import (
    BODY_BYTES_PER_SECOND,
    BODY_SECONDS,
    HEADER_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    Connection,
    Connections,
)
from deploy.modelserver.messages import Reply, Request, Response


class Clock:
    """Stands for the event loop, of which only the time is asked."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


class Wire(asyncio.Transport):
    """Keeps what the server writes and remembers how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = ""

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = "half-closed"


class Client:
    """A connection to a server that answers only when told to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.waiting: list[tuple[Request, Reply]] = []
        connections = Connections(self._answer_later, self.clock)  # type: ignore[arg-type]
        self.connection: Connection = connections.make()
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def _answer_later(self, request: Request, reply: Reply) -> None:
        self.waiting.append((request, reply))

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def after(self, seconds: float) -> "Client":
        self.clock.now += seconds
        self.connection.check(self.clock.now)
        return self


@pytest.fixture
async def client() -> Client:
    return Client()


HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"


async def test_an_idle_connection_is_kept_for_a_while_and_then_dropped(client: Client) -> None:
    assert client.after(IDLE_SECONDS - 1).wire.ended == ""
    assert client.after(2).wire.ended == "aborted"


async def test_headers_that_trickle_in_are_cut_off(client: Client) -> None:
    client.send(b"POST / HTTP/1.1\r\n")
    client.after(HEADER_SECONDS - 1).send(b"X: ")
    assert client.wire.written == b""

    client.after(2)

    assert client.wire.written.startswith(b"HTTP/1.1 408 ")
    assert client.wire.ended == "half-closed"
    assert client.after(LINGER_SECONDS + 1).wire.ended == "aborted"


async def test_a_body_has_time_in_proportion_to_what_has_arrived(client: Client) -> None:
    client.send(HEAD)
    client.after(BODY_SECONDS - 1).send(b" " * 10 * BODY_BYTES_PER_SECOND)
    assert client.after(10).wire.written == b""

    client.after(2)

    assert client.wire.written.startswith(b"HTTP/1.1 408 ")


async def test_a_request_that_the_model_works_on_has_no_limit_here(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.after(10 * IDLE_SECONDS).wire.ended == ""

    [(_, reply)] = client.waiting
    reply(Response(200, b"{}"))

    assert client.wire.written.endswith(b"{}")
    assert client.after(IDLE_SECONDS - 1).wire.ended == ""


async def test_requests_behind_one_that_is_worked_on_wait_their_turn(client: Client) -> None:
    client.send(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
    assert [request.target for request, _ in client.waiting] == ["/1"]

    client.waiting[0][1](Response(200, b"first"))
    client.waiting[1][1](Response(200, b"second"))

    assert client.wire.written.index(b"first") < client.wire.written.index(b"second")


async def test_an_answer_after_the_client_has_gone_is_dropped(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    client.connection.connection_lost(None)

    client.waiting[0][1](Response(200, b"{}"))

    assert client.wire.written == b""
