"""A web process for runners, small and in memory, that tests can break."""

import hashlib
import io
import json
import ssl
import tarfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Told:
    """What the runner of one process has told, and what it is answered."""

    spec: dict[str, Any]
    source: bytes = b""
    resume: bytes = b""
    checkpoints: dict[str, bytes] = field(default_factory=dict)
    log: bytearray = field(default_factory=bytearray)
    files: dict[str, bytes] = field(default_factory=dict)
    outputs: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    usage: list[dict[str, Any]] = field(default_factory=list)
    ready: bool = False
    started: int | None = None
    ending: dict[str, Any] | None = None
    collected: bool = False
    stop: bool = False


def spec(command: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "protocol": 1,
        "name": "worker-0",
        "command": command,
        "environment": {},
        "peers": [],
        "head_start_seconds": 0.0,
        "source": False,
        "watch": ["logs"],
        "outputs": True,
        "grace_seconds": 30,
        "heartbeat_seconds": 0.1,
        "memory_bytes": None,
        "server_timeout_seconds": None,
        **changes,
    }


@dataclass(frozen=True)
class Trouble:
    """An answer in place of the right one; without `detail` it is a proxy's, not the server's."""

    status: int
    detail: str = ""
    retry_after: str = ""


class FakeServer:
    """Answers the runner protocol. `trouble` may answer a request with a status of its own.

    `problem_of` says why the file with a path is refused: by itself, or, from a server that does
    not `judge_each`, with the whole list that it is in.
    """

    def __init__(
        self, port: int = 0, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.told: dict[str, Told] = {}
        self.go = True
        self.trouble: Callable[[str, str], int | Trouble | None] = lambda process, path: None
        self.problem_of: Callable[[str], str] = lambda path: ""
        self.judges_each = True
        self.max_log_bytes: int | None = None
        self.chunked_source = True
        self.holds_back = b""
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: Any) -> None: ...

            def do_GET(self) -> None:
                web._handle(self)

            do_POST = do_PUT = do_GET

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._connections: list[BaseHTTPRequestHandler] = []
        self.port = self._server.server_address[1]
        self.url = f"http{'s' if tls else ''}://{host}:{self.port}"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._lock = threading.Lock()
        self._counts: dict[str, int] = defaultdict(int)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def expect(self, token: str, **details: Any) -> Told:
        self.told[token] = Told(**details)
        return self.told[token]

    def close(self) -> None:
        """Stop like a process that is killed: no connection survives."""
        self._server.shutdown()
        self._server.server_close()
        for handler in self._connections:
            with suppress(OSError):
                handler.connection.shutdown(2)

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        self._connections.append(handler)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        parts = urlsplit(handler.path)
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        what = parts.path.removeprefix("/runner/v1/")
        told = self.told.get(token)
        if told is None:
            return _answer(handler, 401, {})
        with self._lock:
            told.calls.append(what)
            trouble = self.trouble(token, what)
            if isinstance(trouble, int):
                return _answer(handler, trouble, {"detail": "trouble"})
            if trouble is not None:
                return _answer_with_trouble(handler, trouble)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if what in ("source", "resume"):
                return self._send_tar(handler, told.source if what == "source" else told.resume)
            if what == "checkpoints" and handler.command == "GET":
                return self._send_tar(handler, tar_of(told.checkpoints))
            return _answer(handler, *self._take(told, what, query, body))

    def _take(
        self, told: Told, what: str, query: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        if what == "spec":
            return 200, told.spec
        if problem := self.problem_of(query["path"]) if "path" in query else "":
            return 400, {"detail": problem}
        if what == "log" and self.max_log_bytes is not None and len(told.log) >= self.max_log_bytes:
            return 200, {"size": int(query["offset"]) + len(body), "full": True}
        if what in ("log", "file") and self.holds_back and "end" not in query:
            body = body.removesuffix(self.holds_back)
        if what == "log":
            told.log = bytearray(_appended(bytes(told.log), int(query["offset"]), body))
            return 200, {"size": len(told.log)}
        if what == "file":
            held = b"" if query.get("restart") else told.files.get(query["path"], b"")
            told.files[query["path"]] = _appended(held, int(query["offset"]), body)
            return 200, {"size": len(told.files[query["path"]])}
        if what == "output":
            if hashlib.sha256(body).hexdigest() != query["sha256"]:
                return 400, {"detail": "digest"}
            told.uploads.append(query["path"])
            told.outputs[query["path"]] = body
            return 200, {"stored": True}
        if what == "checkpoint":
            told.uploads.append(query["path"])
            told.checkpoints[query["path"]] = body
            return 200, {"stored": True}
        said = json.loads(body or b"{}")
        if what == "outputs" and not self.judges_each:
            for file in said["files"]:
                if problem := self.problem_of(file["path"]):
                    return 400, {"detail": problem}
        return 200, self._note(told, what, said)

    def _note(self, told: Told, what: str, said: dict[str, Any]) -> dict[str, Any]:
        if what == "outputs":
            for path in said.get("removed", ()):
                told.uploads.append(f"-{path}")
                told.outputs.pop(path, None)
            problems = {file["path"]: self.problem_of(file["path"]) for file in said["files"]}
            return {
                "refused": [{"path": path, "reason": why} for path, why in problems.items() if why],
                "missing": [
                    file["path"]
                    for file in said["files"]
                    if not problems[file["path"]]
                    and hashlib.sha256(told.outputs.get(file["path"], b"\0")).hexdigest()
                    != file["sha256"]
                ],
            }
        if what == "checkpoints":
            for path in said["removed"]:
                told.uploads.append(f"-{path}")
                told.checkpoints.pop(path, None)
        if what == "ready":
            told.ready = True
        if what == "beat" and said["usage"]:
            told.usage.append(said["usage"])
        if what == "started":
            told.started = said["pid"]
        if what == "exit":
            told.ending = said
        if what == "collected":
            told.collected = True
        all_ready = all(each.ready for each in self.told.values())
        grace = told.spec["grace_seconds"]
        return {"go": self.go and all_ready, "stop": told.stop, "grace_seconds": grace}

    def _send_tar(self, handler: BaseHTTPRequestHandler, content: bytes) -> None:
        handler.send_response(200)
        if not self.chunked_source:
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
            return
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(content), 1000):
            piece = content[start : start + 1000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")


def tar_of(files: dict[str, bytes]) -> bytes:
    """Pack files as the web process sends them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _appended(held: bytes, offset: int, body: bytes) -> bytes:
    return held if offset > len(held) else held + body[len(held) - offset :]


def _answer(handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def _answer_with_trouble(handler: BaseHTTPRequestHandler, trouble: Trouble) -> None:
    content = json.dumps({"detail": trouble.detail}).encode() if trouble.detail else b"<h1>No</h1>"
    handler.send_response(trouble.status)
    if trouble.retry_after:
        handler.send_header("Retry-After", trouble.retry_after)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def until(condition: Callable[[], Any], what: str = "", seconds: float = 120.0) -> Any:
    """Wait for a condition, and say what did not come true when it has not by then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what or condition}")
