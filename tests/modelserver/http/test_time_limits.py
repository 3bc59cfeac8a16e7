"""How long a client may take, with a clock that the tests turn."""

import asyncio
from typing import Any

import pytest

from deploy.modelserver.http.connection import (
    LINGER_SECONDS,
    MAX_WAITING,
    STALL_SECONDS,
    ConnectionLimits,
    Connections,
    HttpConnection,
)
from deploy.modelserver.http.messages import Reply, RestRequest, RestResponse
from deploy.modelserver.http.request_limits import (
    BODY_BYTES_PER_SECOND,
    BODY_SECONDS,
    HEADER_SECONDS,
    IDLE_SECONDS,
    MAX_HEADER_BYTES,
)


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
        self.is_reading_now = True

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def pause_reading(self) -> None:
        self.is_reading_now = False

    def resume_reading(self) -> None:
        self.is_reading_now = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = "half-closed"


class Client:
    """A connection to a server that answers only when told to."""

    def __init__(
        self, limits: ConnectionLimits | None = None, beside: "Client | None" = None
    ) -> None:
        self.clock = Clock()
        self.waiting: list[tuple[RestRequest, Reply]] = []
        self.connections: Connections = (
            beside.connections if beside else Connections(self._answer_later, self.clock, limits)  # type: ignore[arg-type]
        )
        self.connection: HttpConnection = self.connections.make()
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def _answer_later(self, request: RestRequest, reply: Reply) -> None:
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


async def test_a_body_that_comes_fast_earns_no_time_to_be_silent_in(client: Client) -> None:
    client.send(HEAD + b" " * 99_999)
    assert client.after(BODY_SECONDS - 1).wire.written == b""

    client.after(2)

    assert client.wire.written.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_keeps_the_slowest_rate_is_taken(client: Client) -> None:
    client.send(HEAD)
    left = 100_000
    while left:
        piece = min(left, 5 * BODY_BYTES_PER_SECOND)
        client.after(5).send(b" " * piece)
        left -= piece

    assert client.wire.written == b""
    assert len(client.waiting) == 1


async def test_a_body_is_not_late_because_it_was_not_read(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\n" * (MAX_WAITING + 1) + HEAD)
    assert not client.wire.is_reading_now
    client.after(10 * BODY_SECONDS)

    for _ in range(MAX_WAITING + 1):
        client.waiting[-1][1](RestResponse(200, b"{}"))

    assert client.wire.is_reading_now
    assert client.after(BODY_SECONDS - 1).wire.ended == ""
    client.send(b" " * 100_000)
    assert len(client.waiting) == MAX_WAITING + 2


async def test_a_request_that_the_model_works_on_has_no_limit_here(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.after(10 * IDLE_SECONDS).wire.ended == ""

    [(_, reply)] = client.waiting
    reply(RestResponse(200, b"{}"))

    assert client.wire.written.endswith(b"{}")
    assert client.after(IDLE_SECONDS - 1).wire.ended == ""


async def test_requests_behind_one_that_is_worked_on_wait_their_turn(client: Client) -> None:
    client.send(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
    assert [request.target for request, _ in client.waiting] == ["/1"]

    client.waiting[0][1](RestResponse(200, b"first"))
    client.waiting[1][1](RestResponse(200, b"second"))

    assert client.wire.written.index(b"first") < client.wire.written.index(b"second")


async def test_an_answer_after_the_client_has_gone_is_dropped(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    client.connection.connection_lost(None)

    client.waiting[0][1](RestResponse(200, b"{}"))

    assert client.wire.written == b""


async def test_a_client_that_does_not_read_its_answers_is_dropped(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\n" * 2)
    client.waiting[0][1](RestResponse(200, b"{}"))
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
    client.waiting[0][1](RestResponse(200, b"{}"))
    client.wire.unread = 1000
    client.connection.pause_writing()
    client.after(1).after(STALL_SECONDS - 1)
    client.wire.unread = 0
    client.connection.resume_writing()

    client.after(STALL_SECONDS + 1)

    assert client.wire.ended == ""
    assert len(client.waiting) == 2


async def test_one_connection_too_many_lets_the_oldest_idle_one_go() -> None:
    first = Client(ConnectionLimits(connections=2))
    first.send(HEAD)
    second = Client(beside=first)

    third = Client(beside=first)

    assert [first.wire.ended, second.wire.ended, third.wire.ended] == ["", "aborted", ""]


async def test_bodies_that_are_too_much_together_are_refused_until_others_are_done() -> None:
    first = Client(ConnectionLimits(body_bytes=150_000))
    second = Client(beside=first)
    first.send(HEAD + b" " * 100_000)
    [(_, reply)] = first.waiting

    second.send(HEAD + b" " * 60_000)

    assert second.wire.written.startswith(b"HTTP/1.1 429 ")
    assert b"Too many large requests arrive at once" in second.wire.written
    reply(RestResponse(200, b"{}"))
    third = Client(beside=first)
    third.send(HEAD + b" " * 100_000)
    assert third.wire.written == b""
    first.waiting[-1][1](RestResponse(200, b"{}"))
    assert first.connections.body_bytes == 0


async def test_a_body_counts_until_its_request_has_ended_even_when_the_client_has_gone() -> None:
    client = Client(ConnectionLimits(body_bytes=250_000))
    client.send((HEAD + b" " * 100_000) * 2 + HEAD + b" " * 50_000)
    [(_, reply)] = client.waiting

    client.connection.connection_lost(None)

    assert client.connections.body_bytes == 100_000
    reply(RestResponse(200, b"{}"))
    assert client.connections.body_bytes == 0
    assert len(client.waiting) == 1


CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "start",
    [b"1\r\n{\r\n0\r\nX: ", b"0\r\n", b"1;x="],
    ids=["a trailer", "many trailers", "a chunk extension"],
)
async def test_what_follows_a_body_without_end_is_refused(client: Client, start: bytes) -> None:
    client.send(CHUNKED + start)
    line = b"Y: 1\r\n" if start == b"0\r\n" else b"a" * 1000

    sent = 0
    while not client.wire.written and sent <= MAX_HEADER_BYTES:
        client.send(line)
        sent += len(line)

    assert client.wire.written.startswith(b"HTTP/1.1 431 ")


async def test_many_small_chunks_are_no_headers(client: Client) -> None:
    client.send(CHUNKED)
    for _ in range(MAX_HEADER_BYTES // 4):
        client.send(b"1\r\n")
        client.send(b"{")
        client.send(b"\r\n")
    client.send(b"0\r\nX: 1\r\n\r\n")

    assert client.wire.written == b""
    assert len(client.waiting[0][0].body) == MAX_HEADER_BYTES // 4


async def test_the_end_of_a_body_and_much_behind_it_are_taken(client: Client) -> None:
    client.send(HEAD)
    client.send(b" " * 100_000 + HEAD + b" " * 100_000 + HEAD[:-2])
    client.send(HEAD[-2:] + b" " * 100_000)

    for _ in range(3):
        client.waiting[-1][1](RestResponse(200, b"{}"))

    assert client.wire.written.count(b"HTTP/1.1 200 ") == 3


async def test_nothing_is_read_after_a_refusal_that_must_wait_its_turn(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nContent-Length: 99999999999\r\nX: 1\r\nY")
    monkeypatch.setattr(client.connection, "_parser", None)

    client.send(b"Y" * 1000)

    assert client.wire.written == b""
    client.waiting[0][1](RestResponse(200, b"{}"))
    assert client.wire.written.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 413 " in client.wire.written
    assert client.wire.ended == "half-closed"
