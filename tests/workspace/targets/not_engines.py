"""Servers that a target may lead to by mistake, each on a free port of this machine."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.workspace.targets.target_fixtures import Pair

Answer = tuple[int, str, str]


@contextmanager
def http_server(
    answer: Callable[[str], Answer], context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Serve what `answer` gives for a path: status, content type, body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A caller that breaks off a handshake is what these tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def text_server(greeting: bytes) -> Iterator[int]:
    """Serve a greeting to whoever connects, as mail and file servers do, and hang up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            with caller:
                caller.sendall(greeting)

    thread = threading.Thread(target=greet, daemon=True)
    thread.start()
    yield int(listening.getsockname()[1])
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def a_web_page(path: str) -> Answer:
    return 200, "text/html", "<html><h1>Welcome to nginx!</h1></html>"


def engine_of_version(api: str, engine: str) -> Callable[[str], Answer]:
    """Answer as an engine of some version does, as far as a client asks before it works."""
    version = {"Version": engine, "ApiVersion": api, "MinAPIVersion": "1.12", "Os": "linux"}

    def answer(path: str) -> Answer:
        known = path.endswith("/version")
        body = version if known else {"message": "page not found"}
        return 200 if known else 404, "application/json", json.dumps(body)

    return answer


def tls_context(folder: Path, server: Pair, asks_for_client_of: Pair | None) -> ssl.SSLContext:
    """Return what a server needs that has a certificate, and may ask its callers for one."""
    pair = folder / "server.pem"
    pair.write_text(f"{server.cert}\n{server.key}\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    if asks_for_client_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=asks_for_client_of.cert)
    return context
