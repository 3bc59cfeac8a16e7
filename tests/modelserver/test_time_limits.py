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
    STALL_SECONDS,
    Connection,
    Connections,
    Limits,
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
        self.unread = 0

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def get_write_buffer_size(self) -> int:
        return self.unread

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = "half-closed"


class Client:
    """A connection to a server that answers only when told to."""

    def __init__(self, limits: Limits | None = None, beside: "Client | None" = None) -> None:
        self.clock = Clock()
        self.waiting: list[tuple[Request, Reply]] = []
        self.connections: Connections = (
            beside.connections if beside else Connections(self._answer_later, self.clock, limits)  # type: ignore[arg-type]
        )
        self.connection: Connection = self.connections.make()
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


async def test_a_client_that_does_not_read_its_answers_is_dropped(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\n" * 2)
    client.waiting[0][1](Response(200, b"{}"))
    client.wire.unread = 1000
    client.connection.pause_writing()

    client.after(1)
    assert client.after(STALL_SECONDS - 1).wire.ended == ""
    client.wire.unread = 900
    client.after(1)
    assert client.after(STALL_SECONDS - 1).wire.ended == ""
    assert client.after(1).wire.ended == "aborted"


async def test_a_client_that_reads_slowly_gets_its_next_answer(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\n" * 2)
    client.waiting[0][1](Response(200, b"{}"))
    client.wire.unread = 1000
    client.connection.pause_writing()
    client.after(1).after(STALL_SECONDS - 1)
    client.wire.unread = 0
    client.connection.resume_writing()

    client.after(STALL_SECONDS + 1)

    assert client.wire.ended == ""
    assert len(client.waiting) == 2


async def test_one_connection_too_many_lets_the_oldest_idle_one_go() -> None:
    first = Client(Limits(connections=2))
    first.send(HEAD)
    second = Client(beside=first)

    third = Client(beside=first)

    assert [first.wire.ended, second.wire.ended, third.wire.ended] == ["", "aborted", ""]


async def test_bodies_that_are_too_much_together_are_refused_until_others_are_done() -> None:
    first = Client(Limits(body_bytes=150_000))
    second = Client(beside=first)
    first.send(HEAD + b" " * 100_000)
    [(_, reply)] = first.waiting

    second.send(HEAD + b" " * 60_000)

    assert second.wire.written.startswith(b"HTTP/1.1 503 ")
    assert b"Too many large requests arrive at once" in second.wire.written
    reply(Response(200, b"{}"))
    third = Client(beside=first)
    third.send(HEAD + b" " * 100_000)
    assert third.wire.written == b""
    third.connection.connection_lost(None)
    assert first.connections.body_bytes == 0
