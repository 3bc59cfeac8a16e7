"""The protocols of the web process and of the model server, each served in a thread."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import uvicorn

from config.server.write_coalescing import CoalescingHttpProtocol, QuietWebSocketProtocol
from deploy.modelserver.http.connection import Connections
from deploy.modelserver.http.messages import App
from tests.waiting import wait_for


@contextmanager
def serving(application: Any) -> Iterator[int]:
    """Serve on a port of this machine, as the web process does."""
    config = uvicorn.Config(
        application,
        port=0,
        loop="uvloop",
        http=CoalescingHttpProtocol,
        ws=QuietWebSocketProtocol,
        lifespan="off",
        log_config=None,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, "the server to be up")
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def model_server(app: App) -> Iterator[int]:
    """Serve on a port of this machine, as the model server does."""
    loop = asyncio.new_event_loop()
    ports: list[int] = []

    async def listen() -> None:
        connections = Connections(app, loop)
        server = await loop.create_server(connections.make, "127.0.0.1", 0)
        async with server:
            ports.append(server.sockets[0].getsockname()[1])
            try:
                await connections.keep_time()
            finally:
                for connection in list(connections.open):
                    connection.drop()
                await asyncio.sleep(0)

    def run() -> None:
        try:
            loop.run_until_complete(serve)
        except asyncio.CancelledError:
            loop.close()

    serve = loop.create_task(listen())
    thread = Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: bool(ports), "the model server to be up")
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(serve.cancel)
        thread.join()
