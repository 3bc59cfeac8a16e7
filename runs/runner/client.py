"""Talk to the web process over the runner protocol, through its restarts."""

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

TIMEOUT_SECONDS = 30
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0

Body = bytes | IO[bytes] | None
Query = Mapping[str, object]


class Fenced(Exception):
    """This process was replaced or its token is not known: it may write nothing any more."""


class Refused(Exception):
    """The web process will not take this one thing, now or later."""


class GaveUp(Exception):
    """The web process did not answer for as long as there was reason to wait."""


class Client:
    """One process's line to the web process; every thread has a connection of its own.

    Calls are repeated with a growing pause until they are answered or `patience` returns False.
    """

    def __init__(self, url: str, token: str, ca_bundle: str, patience: Callable[[], bool]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port
        self._base = f"{parts.path.rstrip('/')}/runner/v1/"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._tls = (
            ssl.create_default_context(cafile=ca_bundle or None)
            if parts.scheme == "https"
            else None
        )
        self._patience = patience
        self._local = threading.local()

    def call(
        self, method: str, path: str, body: Any = None, query: Query | None = None
    ) -> dict[str, Any]:
        """Send a small request, `body` as JSON unless it is bytes, and give the JSON answer."""
        raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        return self._answered(method, path, lambda: raw, len(raw), query or {})

    def upload(self, path: str, source: str, size: int, query: Query) -> dict[str, Any]:
        """Send a file whole, read as it goes out."""
        return self._answered("PUT", path, lambda: open(source, "rb"), size, query)

    def download(self, path: str, take: Callable[[http.client.HTTPResponse], None]) -> None:
        """Hand the answer to `take` as a stream; it is called again when the line breaks."""

        def attempt() -> None:
            response = self._send("GET", path, None, 0, {})
            take(response)
            response.read()

        self._patiently(attempt)

    def _answered(
        self,
        method: str,
        path: str,
        body: Callable[[], Body],
        size: int,
        query: Query,
    ) -> dict[str, Any]:
        def attempt() -> dict[str, Any]:
            opened = body()
            try:
                answer: dict[str, Any] = json.loads(
                    self._send(method, path, opened, size, query).read() or b"{}"
                )
                return answer
            finally:
                if opened is not None and not isinstance(opened, bytes):
                    opened.close()

        answer: dict[str, Any] = self._patiently(attempt)
        return answer

    def _patiently(self, attempt: Callable[[], Any]) -> Any:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return attempt()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._hang_up()
                if not self._patience():
                    raise GaveUp(str(error)) from error
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _send(
        self, method: str, path: str, body: Body, size: int, query: Query
    ) -> http.client.HTTPResponse:
        connection = self._connection()
        target = self._base + path + ("?" + urlencode(query, quote_via=quote) if query else "")
        headers = self._headers | ({"Content-Length": str(size)} if body is not None else {})
        connection.request(method, target, body=body, headers=headers)
        response = connection.getresponse()
        if response.status < 300:
            return response
        said = response.read(1000).decode("utf-8", "replace")
        if response.status in {401, 409}:
            raise Fenced(said)
        if 400 <= response.status < 500 and response.status not in {408, 429}:
            raise Refused(f"{response.status}: {said}")
        raise ConnectionError(f"{response.status}: {said}")

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if found is None:
            found = (
                http.client.HTTPSConnection(
                    self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._tls
                )
                if self._tls
                else http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
            )
            self._local.connection = found
        return found

    def _hang_up(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None
