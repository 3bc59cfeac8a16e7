"""The verbs of a service's door: who may score, how often, and what is kept of it."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from deploy.models import KeySlot, LoggedRequest, Opening, Service, ServiceKey
from deploy.services import announce
from runs.reading import Reader
from workspace.errors import FieldError, Invalid

MOST_CALLS_PER_MINUTE = 1_000_000
MOST_REDACTED = 100


@dataclass(frozen=True)
class DoorChange:
    """What a caller said of a door; None is what was not said, and {} asks for no request log."""

    opening: Opening | None = None
    request_log: dict[str, Any] | None = None


def read_door_change(data: object) -> DoorChange:
    """Read the body that changes a door. Raises Invalid with every error."""
    reader = Reader(data, prefix="")
    opening = request_log = None
    if reader.take("opening") is not None:
        opening = Opening(reader.choice("opening", list(Opening.values)))
    if "request_log" in reader.data:
        request_log = {}
        if reader.take("request_log") is not None:
            request_log = _request_log(
                Reader(reader.take("request_log"), prefix="request_log", errors=reader.errors)
            )
    try:
        reader.finish(("opening", "request_log"))
    except Invalid as error:
        raise Invalid.of(*error.errors) from None
    if opening is None and request_log is None:
        raise Invalid.of(FieldError("opening", "Say opening, request_log or both."))
    return DoorChange(opening, request_log)


def _request_log(reader: Reader) -> dict[str, Any]:
    sample = reader.decimal("sample", low=0.0, high=1.0)
    redact = reader.texts("redact")
    if reader.is_object and reader.take("sample") is None:
        reader.refuse("sample", "Say which share of the requests to keep, from 0 to 1.")
    if len(redact) > MOST_REDACTED:
        reader.refuse("redact", f"Name at most {MOST_REDACTED} inputs.")
    for name in sorted(reader.data.keys() - {"sample", "redact"}):
        reader.refuse(name, "Use sample and redact alone.")
    return {"sample": sample, "redact": redact} if sample else {}


@transaction.atomic
def change_door(*, service: Service, by: User | None, change: DoorChange) -> None:
    """Open a service to others, or keep more or less of the requests to it."""
    said: dict[str, Any] = {}
    if change.opening is not None:
        said["opening"] = change.opening.value
    if change.request_log is not None:
        said["request_log"] = change.request_log
    Service.objects.filter(pk=service.pk).update(**said)
    announce(service, by, "service.change_door", **said)


def read_key_limit(data: object) -> int | None:
    """Read the body that limits a key; null lifts the limit."""
    reader = Reader(data, prefix="")
    limit = reader.optional_integer("calls_per_minute", low=1, high=MOST_CALLS_PER_MINUTE)
    if reader.is_object and "calls_per_minute" not in reader.data:
        reader.refuse("calls_per_minute", "Say how many calls a minute, or null for no limit.")
    reader.finish(("calls_per_minute",))
    return limit


@transaction.atomic
def limit_key(
    *, service: Service, by: User | None, slot: KeySlot, calls_per_minute: int | None
) -> None:
    """Set how often a key may be used in a minute; None lifts the limit."""
    ServiceKey.objects.filter(service=service, slot=slot).update(calls_per_minute=calls_per_minute)
    announce(service, by, "service.limit_key", slot=slot.value, calls_per_minute=calls_per_minute)


@transaction.atomic
def clear_request_log(*, service: Service, by: User | None) -> None:
    """Delete every request that was kept of a service."""
    count, _ = LoggedRequest.objects.filter(service=service).delete()
    announce(service, by, "service.clear_request_log", requests=count)
