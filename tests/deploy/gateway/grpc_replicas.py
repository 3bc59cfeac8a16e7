"""Replicas that speak gRPC and behave as a test tells them, and the gateway's gRPC port."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import uvloop

from deploy.gateway.application import close_gateway
from deploy.gateway.grpc_server import listen

Behaviour = Callable[[bytes, Any], bytes]
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass
class FakeGrpcReplica:
    """A gRPC server on a port of its own; `calls` holds method, metadata and bytes of each."""

    behaviour: Behaviour
    address: str = ""
    calls: list[tuple[str, dict[str, Any], bytes]] = field(default_factory=list)

    def handler(self, details: Any) -> Any:
        def behave(request: bytes, context: Any) -> bytes:
            self.calls.append((details.method, dict(details.invocation_metadata), request))
            return self.behaviour(request, context)

        return grpc.unary_unary_rpc_method_handler(behave)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, fake: FakeGrpcReplica) -> None:
        self._fake = fake

    def service(self, details: Any) -> Any:
        return self._fake.handler(details)


@contextmanager
def grpc_replica(behaviour: Behaviour) -> Iterator[FakeGrpcReplica]:
    fake = FakeGrpcReplica(behaviour)
    unlimited = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Handlers(fake)], options=unlimited)
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(0).wait(10)


@contextmanager
def dying_replica() -> Iterator[tuple[str, list[bytes]]]:
    """Yield the address of a server that hangs up on every call, and what was sent to it."""
    received: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                # The settings of HTTP/2, so that the client takes it for a server.
                connection.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
                data = b""
                while PREDICT.encode() not in data and (piece := connection.recv(65536)):
                    data += piece
                if data:
                    received.append(data)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", received
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextmanager
def grpc_gateway() -> Iterator[str]:
    """Run the gateway's gRPC on a port of its own, on the loop that the web runs on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    loop = uvloop.new_event_loop()
    started, stopping = threading.Event(), asyncio.Event()

    async def serve() -> None:
        server = await listen("127.0.0.1", port)
        started.set()
        await stopping.wait()
        await server.stop(0)
        await close_gateway()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(20)
