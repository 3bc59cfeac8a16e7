"""Errors of the gateway, in the form that TensorFlow Serving gives its own."""

import json
from collections.abc import Mapping


class GatewayError(Exception):
    """A request that the gateway itself answers with an error."""

    def __init__(
        self, status: int, message: str, headers: Mapping[bytes, bytes] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        return json.dumps({"error": str(self)}).encode()
