"""Model servers that behave as a test tells them, down to the bytes they send."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Behaviour = Callable[[socket.socket, bytes], bool]
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


@dataclass
class FakeReplica:
    """A server on a port of its own; `requests` holds what came, head and body."""

    behaviour: Behaviour
    listener: socket.socket = field(default_factory=socket.socket)
    requests: list[bytes] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        host, port = self.listener.getsockname()
        return f"{host}:{port}"

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._talk, args=[connection], daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while request := read_request(connection):
                self.requests.append(request)
                if not self.behaviour(connection, request):
                    return


@contextmanager
def replica(behaviour: Behaviour) -> Iterator[FakeReplica]:
    fake = FakeReplica(behaviour)
    fake.listener.bind(("127.0.0.1", 0))
    fake.listener.listen(128)
    threading.Thread(target=fake.serve, daemon=True).start()
    try:
        yield fake
    finally:
        fake.listener.close()
        for connection in fake.connections:
            connection.close()


def read_request(connection: socket.socket) -> bytes:
    """Read a head and as much body as it announces; nothing when the other side has left."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answers(text: bytes) -> Behaviour:
    """Answer every request the same and keep the connection."""

    def behave(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(JSON % (len(text), text))
        return True

    return behave


def sends(data: bytes) -> Behaviour:
    """Send some bytes, whatever they are, and end the connection."""

    def behave(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(data)
        return False

    return behave


def waits(until: threading.Event, then: Behaviour) -> Behaviour:
    """Answer only once something has happened."""

    def behave(connection: socket.socket, request: bytes) -> bool:
        until.wait(30)
        return then(connection, request)

    return behave
