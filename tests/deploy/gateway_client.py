"""The gateway before a service with some replicas, and a caller of it."""

import http.client
import json
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from deploy.models import Service
from tests.deploy.fake_replicas import FakeReplica

SCORE = "/api/v1/teams/default/services/digits/score"
SERVE = "/serve/default/digits/v1/models/digits"


@dataclass(frozen=True)
class GatewayResponse:
    status: int
    headers: Message
    body: bytes


class GatewayClient:
    """The gateway before a service with some replicas, and a caller of it."""

    def __init__(self, web: str, service: Service, key: str, fakes: list[FakeReplica]) -> None:
        self.web = web
        self.service = service
        self.key = key
        self.fakes = fakes

    def call(
        self,
        body: Any = b"{}",
        *,
        method: str = "POST",
        path: str = SCORE,
        secret: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> GatewayResponse:
        key = self.key if secret is None else secret
        bearer = {"Authorization": f"Bearer {key}"} if key else {}
        connection = http.client.HTTPConnection(urlsplit(self.web).netloc, timeout=30)
        with closing(connection):
            connection.request(method, path, body, bearer | (headers or {}))
            with connection.getresponse() as answer:
                return GatewayResponse(answer.status, answer.headers, answer.read())

    def ask(self, body: Any = b"{}", **options: Any) -> tuple[int, Any]:
        answer = self.call(body, **options)
        return answer.status, json.loads(answer.body)


MakeFront = Callable[..., GatewayClient]


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
