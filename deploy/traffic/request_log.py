"""The requests that a service keeps: sampled at the gateway, written in batches."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.utils import timezone

from deploy.models import LoggedRequest, Revision
from deploy.traffic.log_policy import LONGEST_KEPT, LogPolicy, request_text, response_text

MAX_LOGGED = 10_000
MOST_WAITING_BYTES = 16 * 1024 * 1024
MOST_WAITING = 2_000
CALLER_LENGTH = 150
CLIENT_ERROR = 400


@dataclass(frozen=True)
class RequestRecord:
    """A request on its way into the log, as it came."""

    service_id: int
    revision_id: int
    principal: str
    status: int
    seconds: float
    request: bytes
    answer: bytes
    redact: Collection[str] = ()
    at: datetime = field(default_factory=timezone.now)


class RequestLog:
    """Requests that wait to be written. What comes faster than can be held is left out."""

    def __init__(self) -> None:
        self._waiting: list[RequestRecord] = []
        self._held = 0

    def is_sampled(self, policy: LogPolicy) -> bool:
        """Tell by chance whether to keep a request."""
        return policy.sample > 0 and random.random() < policy.sample  # noqa: S311 - chance, not secrecy

    def add(self, kept: RequestRecord) -> None:
        # A request to be redacted is read as a whole first.
        request = kept.request if kept.redact else _cut(kept.request)
        kept = replace(kept, request=request, answer=_cut(kept.answer))
        size = len(kept.request) + len(kept.answer)
        if self._held + size <= MOST_WAITING_BYTES and len(self._waiting) < MOST_WAITING:
            self._waiting.append(kept)
            self._held += size

    def take_waiting(self) -> list[RequestRecord]:
        waiting, self._waiting, self._held = self._waiting, [], 0
        return waiting


def write_requests(several: Sequence[RequestRecord]) -> None:
    """Store requests, and drop the oldest of services that have more than is kept."""
    if not several:
        return
    asked = {kept.revision_id for kept in several}
    known = set(Revision.objects.filter(pk__in=asked).values_list("pk", flat=True))
    LoggedRequest.objects.bulk_create(
        [_row(kept) for kept in several if kept.revision_id in known], batch_size=200
    )
    for service_id in {kept.service_id for kept in several}:
        mine = LoggedRequest.objects.filter(service=service_id).order_by("-pk")
        oldest = mine.values_list("pk", flat=True)[MAX_LOGGED - 1 : MAX_LOGGED].first()
        if oldest is not None:
            LoggedRequest.objects.filter(service=service_id, pk__lt=oldest).delete()


def _row(kept: RequestRecord) -> LoggedRequest:
    return LoggedRequest(
        service_id=kept.service_id,
        revision_id=kept.revision_id,
        at=kept.at,
        principal=kept.principal[:CALLER_LENGTH],
        status=kept.status,
        seconds=kept.seconds,
        request=request_text(kept.request, kept.redact),
        answer=response_text(kept.answer, kept.redact, is_error=kept.status >= CLIENT_ERROR),
    )


def _cut(body: bytes) -> bytes:
    # One byte more than is kept, so that what was cut can be told from what just fits.
    return body[: LONGEST_KEPT + 1]
