"""What a request may have before it is whole: bytes and fields in its head, and time; pure.

The model server counts with it, and so does the web port (`config.server.write_coalescing`).
"""

from dataclasses import dataclass
from typing import NamedTuple

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 100
# A body has so long to begin; what arrives at this rate or faster keeps it alive, but a client
# that goes silent never has longer than that again.
BODY_SECONDS = 15.0
BODY_BYTES_PER_SECOND = 4096
HEADER_SECONDS = 10.0
IDLE_SECONDS = 300.0

TOO_MANY_HEADERS = f"The request has more than {MAX_HEADERS} headers"
TOO_LARGE_HEADERS = f"The request's headers are larger than {MAX_HEADER_BYTES // 1024} KiB"
TOO_LATE = "The request took too long to arrive"


class HeadRefusal(NamedTuple):
    """Why a request's head is not read any further."""

    message: str
    status: int = 431


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long a client may take over the head and the body of a request, or say nothing."""

    header_seconds: float = HEADER_SECONDS
    body_seconds: float = BODY_SECONDS
    idle_seconds: float = IDLE_SECONDS
    body_bytes_per_second: float = BODY_BYTES_PER_SECOND


class RequestMeter:
    """Follows the requests of one connection, one after the other, as its parser tells of them."""

    __slots__ = (
        "_bytes_in_headers",
        "_header_size",
        "_headers_seen",
        "_times",
        "deadline",
        "has_begun",
        "in_headers",
        "in_message",
    )

    def __init__(self, times: TimeLimits, now: float) -> None:
        self._times = times
        self.deadline = now + times.idle_seconds
        self.completed()

    def completed(self) -> None:
        """Note that a request is whole; what comes next belongs to another one."""
        self.in_message = False
        self.in_headers = False
        self.has_begun = False
        self._bytes_in_headers = 0
        self._header_size = 0
        self._headers_seen = 0

    def received(self, size: int, now: float) -> None:
        """Note bytes that the parser is about to read."""
        # Counted from the last piece of body on, so of chunk sizes and trailers, too.
        self._bytes_in_headers += size
        if not self.has_begun and (not self.in_message or self.in_headers):
            self.has_begun = True
            self.deadline = now + self._times.header_seconds

    def message_begun(self) -> None:
        self.in_message = self.in_headers = True

    def url(self, size: int) -> None:
        self._header_size += size

    def header(self, size: int) -> HeadRefusal | None:
        """Count a field; return why it is one too many."""
        self._headers_seen += 1
        self._header_size += size
        if self._headers_seen > MAX_HEADERS:
            return HeadRefusal(TOO_MANY_HEADERS)
        if self._header_size > MAX_HEADER_BYTES:
            return HeadRefusal(TOO_LARGE_HEADERS)
        return None

    def parsed(self) -> HeadRefusal | None:
        """Return why a head that is not over yet, and of which no field is whole, is too large."""
        if self.in_message and self._bytes_in_headers > MAX_HEADER_BYTES:
            return HeadRefusal(TOO_LARGE_HEADERS)
        return None

    def headers_completed(self, now: float) -> None:
        self.in_headers = False
        self._bytes_in_headers = 0
        self.deadline = now + self._times.body_seconds

    def body(self, size: int, now: float) -> None:
        self._bytes_in_headers = 0
        self.deadline = min(
            self.deadline + size / self._times.body_bytes_per_second,
            now + self._times.body_seconds,
        )

    def was_not_read(self, now: float) -> None:
        """Excuse a client whose bytes could not arrive, since nobody read them."""
        self.deadline = max(self.deadline, now + self._times.body_seconds)

    def answered(self, now: float) -> None:
        """Let the connection be idle, unless the next request has begun."""
        if not self.in_message:
            self.deadline = now + self._times.idle_seconds
