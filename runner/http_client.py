"""A small HTTP/1.1 client for the runner protocol.

The standard library's takes 20 ms to import, which every process of every run would wait for.
"""

from __future__ import annotations

import json
import re
import socket
from typing import IO, Any

from runner.constants import URL_PREFIX

TIMEOUT_SECONDS = 30.0
UPLOAD_TIMEOUT_SECONDS = 300.0
JOINED_BYTES = 65536
MAX_LINE_BYTES = 65536
MAX_DETAIL = 1000
# A token that is not known may be known again: the server may have started with another database.
RETRY_LATER = (401, 408, 425, 429)
FENCED = 409


class ProcessFenced(Exception):
    """This process was replaced: it may write nothing any more."""


class RequestRefused(Exception):
    """The web process will not take this one thing, now or later; the text is its own."""


class ServerUnreachable(Exception):
    """No whole answer came, or one that asks to try again, perhaps after some seconds."""

    def __init__(self, request: str, trouble: Exception) -> None:
        super().__init__(f"{request.partition('?')[0]}: {trouble}")
        self.retry_after = trouble.seconds if isinstance(trouble, RetryLater) else 0


class RetryLater(OSError):
    """An answer that another try may change."""

    def __init__(self, text: str, seconds: int) -> None:
        super().__init__(text)
        self.seconds = seconds


class HttpClient:
    """One connection to the web process, kept open between calls and for one thread only."""

    def __init__(self, url: str, token: str, ca_bundle: str = "") -> None:
        scheme, _, rest = url.partition("://")
        place, _, prefix = rest.partition("/")
        host, _, port = place.rpartition(":")
        if not host or not port.isdigit():
            host, port = place, "443" if scheme == "https" else "80"
        self._address = (host.strip("[]"), int(port))
        self._is_secure = scheme == "https"
        self._ca_bundle = ca_bundle
        self._base = f"/{prefix.rstrip('/')}{URL_PREFIX}".replace("//", "/")
        self._headers = f"Host: {place}\r\nAuthorization: Bearer {token}\r\n"
        self._socket: socket.socket | None = None
        self._reader: IO[bytes] | None = None

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send a small request, as JSON unless it is bytes, and return the JSON answer."""
        raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        try:
            answer = self._exchange(method, path, raw)
            content = answer.read()
            parsed: dict[str, Any] = json.loads(content) if content else {}
        except (OSError, ValueError) as error:
            self.close()
            raise ServerUnreachable(f"{method} {path}", error) from error
        return parsed

    def upload(self, path: str, file: IO[bytes], size: int) -> None:
        """Send `size` bytes of a file. Raises OSError where the file has become shorter."""
        try:
            self._exchange("PUT", path, b"", file, size).read()
        except (OSError, ValueError) as error:
            self.close()
            raise ServerUnreachable(f"PUT {path}", error) from error

    def download(self, path: str) -> StreamedResponse:
        """Return an answer to be read to its end as a stream, which may raise OSError."""
        try:
            return self._exchange("GET", path, b"")
        except (OSError, ValueError) as error:
            self.close()
            raise ServerUnreachable(f"GET {path}", error) from error

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._socket is not None:
            self._socket.close()
        self._reader = self._socket = None

    def _exchange(
        self, method: str, path: str, body: bytes, file: IO[bytes] | None = None, size: int = 0
    ) -> StreamedResponse:
        """Send a request and read the head of its answer; a connection gone stale is replaced."""
        was_open = self._socket is not None
        try:
            answer = self._send(method, path, body, file, size)
        except OSError:
            self.close()
            if not was_open:
                raise
            answer = self._send(method, path, body, file, size)
        if answer.status < 300:
            return answer
        raw = answer.read()
        detail = _detail_of(raw)
        if detail and 400 <= answer.status < 500 and answer.status not in RETRY_LATER:
            raise (ProcessFenced if answer.status == FENCED else RequestRefused)(detail)
        said = detail or raw[:1000].decode("utf-8", "replace")
        raise RetryLater(f"{answer.status} {said}", answer.retry_after)

    def _send(
        self, method: str, path: str, body: bytes, file: IO[bytes] | None, size: int
    ) -> StreamedResponse:
        connection = self._socket or self._connect()
        connection.settimeout(UPLOAD_TIMEOUT_SECONDS if file else TIMEOUT_SECONDS)
        head = (
            f"{method} {self._base}{path} HTTP/1.1\r\n{self._headers}"
            f"Content-Length: {size if file else len(body)}\r\n\r\n"
        ).encode()
        try:
            if file is not None:
                file.seek(0)
                connection.sendall(head)
                if size and connection.sendfile(file, 0, size) != size:
                    raise OSError("the file has become shorter")
            elif len(body) <= JOINED_BYTES:
                connection.sendall(head + body)
            else:
                connection.sendall(head)
                connection.sendall(body)
        except (BrokenPipeError, ConnectionResetError):
            # The web process may have refused the body before it was all sent; its answer tells.
            answer = StreamedResponse(self, self._lines())
            if answer.status < 400:
                raise
            return answer
        return StreamedResponse(self, self._lines())

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, timeout=TIMEOUT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._is_secure:
            import ssl

            context = ssl.create_default_context(cafile=self._ca_bundle or None)
            connection = context.wrap_socket(connection, server_hostname=self._address[0])
        self._socket = connection
        self._reader = connection.makefile("rb")
        return connection

    def _lines(self) -> IO[bytes]:
        if self._reader is None:
            raise OSError("the connection is closed")
        return self._reader


def _detail_of(raw: bytes) -> str:
    """Return the web process's own words, or none in what a proxy before it answers."""
    try:
        said = json.loads(raw)
    except ValueError:
        return ""
    detail = said.get("detail") if isinstance(said, dict) else None
    return detail[:MAX_DETAIL] if isinstance(detail, str) else ""


class StreamedResponse:
    """An answer whose head is read; `read` gives the body."""

    def __init__(self, wire: HttpClient, reader: IO[bytes]) -> None:
        self._http, self._reader = wire, reader
        self.status, headers = self._head()
        while 100 <= self.status < 200:
            self.status, headers = self._head()
        retry_after = headers.get("retry-after", "")
        self.retry_after = int(retry_after) if re.fullmatch("[0-9]{1,9}", retry_after) else 0
        self._closes = headers.get("connection", "").lower() == "close"
        self._is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length")
        if self._is_chunked or self.status in (204, 304):
            self._left: int | None = 0
        elif length is None:
            self._left, self._closes = None, True
        else:
            self._left = int(length)
        self._is_over = not self._is_chunked and self._left == 0
        self._close_if_over()

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all that is left without one, and none at the end."""
        if size >= 0:
            return self._some(size)
        parts = []
        while part := self._some(1 << 20):
            parts.append(part)
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        if self._is_over or size == 0:
            return b""
        if self._is_chunked and self._left == 0 and not self._next_chunk():
            return b""
        part = self._reader.read(size if self._left is None else min(size, self._left))
        if self._left is None:
            self._is_over = not part
        else:
            if not part:
                raise OSError("the answer broke off")
            self._left -= len(part)
            if self._is_chunked and self._left == 0:
                self._line()
            self._is_over = not self._is_chunked and self._left == 0
        self._close_if_over()
        return part

    def _next_chunk(self) -> bool:
        self._left = int(self._line().partition(b";")[0], 16)
        if self._left:
            return True
        while self._line():
            pass
        self._is_over = True
        self._close_if_over()
        return False

    def _close_if_over(self) -> None:
        if self._is_over and self._closes:
            self._http.close()

    def _head(self) -> tuple[int, dict[str, str]]:
        first = self._line().split(None, 2)
        if len(first) < 2 or not first[0].startswith(b"HTTP/1."):
            raise OSError("that was no HTTP answer")
        headers = {}
        while line := self._line():
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()
        return int(first[1]), headers

    def _line(self) -> bytes:
        line = self._reader.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise OSError("the answer broke off")
        return line.rstrip(b"\r\n")
