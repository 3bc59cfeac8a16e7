"""Browsers that watch a run by its websocket, without a network."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from runs.live.consumers import watch_run
from runs.models import Run

PATIENCE = 10


class Socket:
    """The browser's end of a websocket, in the same event loop as the server's."""

    def __init__(self, run: Run, headers: list[tuple[bytes, bytes]], offsets: object) -> None:
        query = "" if offsets is None else f"offsets={quote(json.dumps(offsets))}"
        self.scope = {
            "type": "websocket",
            "path": f"/ws/teams/{run.team.slug}/runs/{run.number}/",
            "query_string": query.encode(),
            "headers": headers,
            "url_route": {"kwargs": {"slug": run.team.slug, "number": str(run.number)}},
        }
        self.to_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.from_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.to_server.put_nowait({"type": "websocket.connect"})

    async def send(self, message: dict[str, Any]) -> None:
        await self.may_write.wait()
        self.from_server.put_nowait(message)

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.from_server.get(), PATIENCE)

    async def message(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Return the next message of a kind that holds these fields."""
        while True:
            event = await self.next()
            if event["type"] == "websocket.accept":
                continue
            assert event["type"] == "websocket.send", event
            message: dict[str, Any] = json.loads(event["text"])
            if message["type"] == kind and fields.items() <= message.items():
                return message

    async def closed(self) -> int:
        while (event := await self.next())["type"] != "websocket.close":
            pass
        code: int = event["code"]
        return code

    async def text(self, length: int, process: str = "worker-0", start: int = 0) -> str:
        """Collect a log up to a length, seeing that its pieces follow each other."""
        text, offset = "", start
        while offset < length:
            message = await self.message("log", process=process)
            assert message["offset"] == offset
            assert message["next"] > offset
            text, offset = text + message["text"], message["next"]
        return text


@asynccontextmanager
async def watching(
    run: Run, token: str, offsets: object = None, *, scope: dict[str, Any] | None = None
) -> AsyncIterator[Socket]:
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    socket = Socket(run, headers, offsets)
    socket.scope |= scope or {}
    task = asyncio.create_task(watch_run(socket.scope, socket.to_server.get, socket.send))
    try:
        yield socket
    finally:
        socket.may_write.set()
        socket.to_server.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(task, PATIENCE)
