"""A request and a response, as the HTTP side and the REST side hand them to each other."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson

MAX_BODY = 64 * 2**20

CORS_HEADERS = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: POST, GET\r\n"
    b"Access-Control-Allow-Headers: Content-Type\r\n"
)


@dataclass(slots=True)
class RestRequest:
    """One request, whole."""

    method: str
    target: str
    body: bytes
    keep_alive: bool
    is_gzip: bool = False
    origin: str = ""


@dataclass(frozen=True, slots=True)
class RestResponse:
    """One response; `headers` are extra lines, each with its line end."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: bytes = b""

    @classmethod
    def of_error(cls, status: int, message: str, *, headers: bytes = b"") -> "RestResponse":
        """Make TensorFlow Serving's error body: the key "error" and nothing else."""
        return cls(status, orjson.dumps({"error": _printable(message)}), headers=headers)


Reply = Callable[[RestResponse], None]
App = Callable[[RestRequest, Reply], None]


def _printable(message: str) -> str:
    return message.encode("utf-8", "replace").decode()
