"""Answers reach the kernel in one piece, and streams are not held back."""

import asyncio
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.frames import CloseCode
from websockets.sync.client import connect

from config.server.write_coalescing import BUFFER_BYTES, CoalescingTransport
from tests.config.server.serving import serving


class Kernel:
    """A transport that notes what it is given."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.writes.append(data)

    def close(self) -> None:
        self.is_closed = True

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


@pytest.fixture
async def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
async def joined(kernel: Kernel) -> Any:
    return CoalescingTransport(kernel)  # type: ignore[arg-type]


async def test_a_head_and_its_body_are_one_write(joined: Any, kernel: Kernel) -> None:
    joined.write(b"head ")
    joined.write(b"body")
    assert kernel.writes == []
    joined.flush()
    assert kernel.writes == [b"head body"]


async def test_a_head_alone_waits_for_no_body(joined: Any, kernel: Kernel) -> None:
    joined.write(b"head")
    await asyncio.sleep(0)
    assert kernel.writes == [b"head"]


async def test_much_is_passed_on_at_once(joined: Any, kernel: Kernel) -> None:
    joined.write(b"head")
    joined.write(bytes(BUFFER_BYTES))
    assert kernel.writes == [b"head" + bytes(BUFFER_BYTES)]


async def test_nothing_is_lost_when_the_connection_closes(joined: Any, kernel: Kernel) -> None:
    joined.write(b"last words")
    joined.close()
    assert kernel.writes == [b"last words"]
    assert kernel.is_closed
    await asyncio.sleep(0)


async def test_all_else_is_the_transports(joined: Any) -> None:
    assert joined.get_extra_info("peername") == "the peername"


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hello"})
        if scope["path"] == "/chat":
            assert (await receive())["type"] == "websocket.disconnect"
            return
        await send({"type": "websocket.close"})
        return
    body = b""
    has_more = True
    while has_more:
        message = await receive()
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for start in range(0, len(body), 1000):
        await send(
            {"type": "http.response.body", "body": body[start : start + 1000], "more_body": True}
        )
    await send({"type": "http.response.body", "body": b""})


def test_answers_of_any_size_and_sockets_come_through_whole() -> None:
    with serving(application) as port:
        with httpx.Client(timeout=60) as client:
            for size in (0, 1, 1000, 5_000_000):
                sent = bytes(range(256)) * (size // 256 + 1)
                answer = client.post(f"http://127.0.0.1:{port}/", content=sent[:size])
                assert answer.content == sent[:size]
        with connect(f"ws://127.0.0.1:{port}/", proxy=None) as socket:
            assert socket.recv() == "hello"


@pytest.mark.parametrize("frames", [[b"\xff"], [b"a", b"\xc3"]], ids=["whole", "in two frames"])
def test_text_that_is_no_utf_8_closes_a_websocket_with_1007_and_no_traceback(
    frames: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serving(application) as port,
        connect(f"ws://127.0.0.1:{port}/chat", proxy=None) as socket,
    ):
        assert socket.recv() == "hello"
        socket.send(frames if len(frames) > 1 else frames[0], text=True)
        with pytest.raises(ConnectionClosedError) as closed:
            socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.INVALID_DATA
    assert caplog.records == []
