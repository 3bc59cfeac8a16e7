"""Requests of runners as the handlers see them: a caller, parameters, a body with a limit."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from runs.ingest.token_cache import ProcessPrincipal

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
MAX_JSON = 4 * 1024 * 1024


class RunnerDisconnected(Exception):
    """The runner went away in the middle of its request; it will come again."""


class RunnerRequestRefused(Exception):
    """The request gets this status and these words."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class RunnerRequest:
    def __init__(
        self,
        caller: ProcessPrincipal,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        self.principal = caller
        self.send = send
        self._receive = receive
        self._query: dict[str, list[str]] = parse_qs(
            scope["query_string"].decode("latin-1"), keep_blank_values=True
        )

    def text(self, name: str) -> str:
        values = self._query.get(name)
        if not values:
            raise RunnerRequestRefused(HTTPStatus.BAD_REQUEST, f"{name} is required in the query.")
        return values[0]

    def has(self, name: str) -> bool:
        return name in self._query

    def number(self, name: str) -> int:
        value = self.text(name)
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise RunnerRequestRefused(
                HTTPStatus.BAD_REQUEST, f"{name} should be a whole number from 0 up."
            )
        return int(value)

    def flag(self, name: str) -> bool:
        return self._query.get(name, [""])[0] in {"1", "true"}

    async def pieces(self, limit: int) -> AsyncIterator[bytes]:
        """Yield the body as it comes, refusing what goes beyond `limit` bytes."""
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise RunnerDisconnected
            piece = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise RunnerRequestRefused(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body has more than {limit} bytes."
                )
            if piece:
                yield piece
            if not message.get("more_body", False):
                return

    async def body(self, limit: int) -> bytes:
        return b"".join([piece async for piece in self.pieces(limit)])

    async def json(self) -> dict[str, Any]:
        body = await self.body(MAX_JSON)
        try:
            data = json.loads(body or b"{}")
        except (ValueError, RecursionError) as error:
            raise RunnerRequestRefused(
                HTTPStatus.BAD_REQUEST, "The body should be JSON."
            ) from error
        if not isinstance(data, dict):
            raise RunnerRequestRefused(HTTPStatus.BAD_REQUEST, "The body should be a JSON object.")
        return data


async def respond(send: Send, status: int, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    await send(
        {
            "type": "http.response.start",
            "status": int(status),
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(content)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": content})
