"""HTTP as clients speak it, well and badly."""

import resource
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from ..serving import ModelServer

pytestmark = pytest.mark.tensorflow

BODY = b'{"instances": [[1, 2]]}'
POST = b"POST /v1/models/zoo:predict HTTP/1.1\r\nHost: x\r\n"
WHOLE = POST + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
LAST = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def test_a_connection_is_kept_and_pipelined_requests_are_answered_in_order(
    zoo: ModelServer,
) -> None:
    status = b"GET /v1/models/zoo HTTP/1.1\r\nHost: x\r\n\r\n"

    received = zoo.raw(WHOLE + status + WHOLE * 40 + LAST)

    assert received.count(b"HTTP/1.1 200 OK") == 43
    assert received.index(b"predictions") < received.index(b"model_version_status")
    assert received.count(b"predictions") == 42


def test_chunked_bodies_are_put_together(zoo: ModelServer) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"

    received = zoo.raw(POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)

    assert received.startswith(b"HTTP/1.1 200 OK")


def test_a_body_that_arrives_byte_by_byte_is_put_together(zoo: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", zoo.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in WHOLE:
            connection.sendall(bytes([byte]))

        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_waits_for_100_continue_gets_it(zoo: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", zoo.port), timeout=30) as connection:
        head = b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        connection.sendall(POST + head)
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"

        connection.sendall(BODY)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_http_1_0_is_answered_and_closed(zoo: ModelServer) -> None:
    received = zoo.raw(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")

    assert received.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in received


def test_head_has_no_body(zoo: ModelServer) -> None:
    received = zoo.raw(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert received.endswith(b"\r\n\r\n")


def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(zoo: ModelServer) -> None:
    received = zoo.raw(POST + b"Content-Length: 104857600\r\n\r\n{")

    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 64 MiB" in received


def test_a_chunked_body_that_grows_too_large_is_refused(zoo: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", zoo.port), timeout=30) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(66):
            connection.sendall(chunk)

        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "headers",
    [b"X: 1\r\n" * 200, b"X: " + b"a" * 100_000 + b"\r\n", b"X: " + b"a" * 100_000],
    ids=["many", "long", "long and unfinished"],
)
def test_a_flood_of_headers_is_refused(zoo: ModelServer, headers: bytes) -> None:
    received = zoo.raw(b"GET /healthz HTTP/1.1\r\n" + headers + b"\r\n")

    assert received.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"hello\r\n\r\n",
        POST + b"Content-Length: x\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["TLS", "no HTTP", "a length that is no number", "two lengths"],
)
def test_what_is_not_http_is_refused(zoo: ModelServer, data: bytes) -> None:
    assert zoo.raw(data).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_leaves_early_harms_nobody(zoo: ModelServer) -> None:
    for cut in (5, len(POST), len(WHOLE) - 3, len(WHOLE)):
        with socket.create_connection(("127.0.0.1", zoo.port)) as connection:
            connection.sendall(WHOLE[:cut])

    assert zoo.post("/v1/models/zoo:predict", BODY).status == 200


def test_a_client_that_closes_its_side_still_gets_the_answer(zoo: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", zoo.port), timeout=30) as connection:
        connection.sendall(WHOLE)
        connection.shutdown(socket.SHUT_WR)

        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_ten_thousand_idle_connections_keep_nobody_from_being_answered(zoo: ModelServer) -> None:
    wanted = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted + 500:
        pytest.skip(f"this machine lets a process open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 500), hard))
    with ExitStack() as idle:
        idle.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(wanted):
            idle.enter_context(socket.create_connection(("127.0.0.1", zoo.port), timeout=30))

        assert zoo.post("/v1/models/zoo:predict", BODY).status == 200
        descriptors = len(list(Path(f"/proc/{zoo.process.pid}/fd").iterdir()))
        assert descriptors > wanted
    assert zoo.get("/v1/models/zoo").status == 200


def test_clients_that_never_end_their_requests_keep_nobody_from_being_answered(
    zoo: ModelServer,
) -> None:
    endless = POST + b"Content-Length: 60000000\r\n\r\n" + b" " * 10_000
    with ExitStack() as slow:
        for cut in range(200):
            client = slow.enter_context(socket.create_connection(("127.0.0.1", zoo.port)))
            client.sendall(endless[: 5 + 40 * cut])

        assert zoo.post("/v1/models/zoo:predict", BODY).status == 200


def test_a_client_that_does_not_read_its_answers_keeps_nobody_from_being_answered(
    zoo: ModelServer,
) -> None:
    metadata = b"GET /v1/models/zoo/metadata HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", zoo.port)) as deaf:
        deaf.setblocking(False)
        with suppress(BlockingIOError):
            while deaf.send(metadata * 100):
                pass

        assert zoo.post("/v1/models/zoo:predict", BODY).status == 200
