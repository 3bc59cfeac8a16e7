"""Duties that one process at a time may have, each held by a lease that its holder renews.

The time is the database's, so that no clock of a machine that asks matters. A lease is a fence:
it has a number, which grows whenever another takes it over. Inside `fenced` every write to the
database carries the number of its duty, in the same transaction, and fails once there is a newer.
"""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, models, transaction
from django.db.models import F
from django.db.models.functions import Now

LEASE_DURATION = timedelta(seconds=5)
NEVER = datetime(2000, 1, 1, tzinfo=UTC)
WRITES = ("INSERT", "UPDATE", "DELETE")


class Lease(models.Model):
    """Who may act as the one holder of a duty, and until when; `number` counts the holders."""

    name = models.CharField(max_length=50, primary_key=True)
    holder = models.CharField(max_length=100, blank=True)
    number = models.PositiveBigIntegerField(default=0)
    expires_at: "models.DateTimeField[datetime, datetime]" = models.DateTimeField(default=NEVER)

    def __str__(self) -> str:
        return f"{self.name} held by {self.holder}"


class LeaseLost(BaseException):
    """Another has the duty now. No handler of errors holds it up: it ends what is under way."""


@dataclass(frozen=True)
class Fence:
    """A duty, and the number under which it was taken."""

    name: str
    number: int


_current: ContextVar[Fence | None] = ContextVar("fence", default=None)


def new_holder() -> str:
    """Return a name that no other process, nor this one after a restart, will have."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"[:100]


def take(name: str, holder: str) -> Fence | None:
    """Take or renew a lease; return its fence if `holder` has it now."""
    Lease.objects.get_or_create(name=name)
    lease = Lease.objects.filter(name=name)
    until = Now() + LEASE_DURATION
    if not lease.filter(holder=holder).update(expires_at=until):
        # One that would last for longer was written before the database's clock was set back.
        lease.filter(expires_at__gt=until).update(expires_at=until)
        lease.filter(expires_at__lte=Now()).update(
            holder=holder, number=F("number") + 1, expires_at=until
        )
    number = lease.filter(holder=holder).values_list("number", flat=True).first()
    return None if number is None else Fence(name, number)


def release(name: str, holder: str) -> None:
    Lease.objects.filter(name=name, holder=holder).update(holder="", expires_at=Now())


@contextmanager
def fenced(fence: Fence) -> Iterator[None]:
    """Let every write of this thread, and `confirm`, raise LeaseLost once another has the duty."""
    token = _current.set(fence)
    try:
        with connection.execute_wrapper(_confirm_write):
            yield
    finally:
        _current.reset(token)


def confirm() -> None:
    """Renew the lease of the duty that is being done. Raises LeaseLost when another has it."""
    fence = _current.get()
    if fence is None:
        return
    token = _current.set(None)
    try:
        ours = Lease.objects.filter(name=fence.name, number=fence.number)
        if not ours.update(expires_at=Now() + LEASE_DURATION):
            raise LeaseLost(f"Another {fence.name} has taken over.")
    finally:
        _current.reset(token)


def _confirm_write(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    """Execute a statement; one that writes, in a transaction in which the lease is ours.

    SQLite commits no statement whose rows have not been fetched. One that returns rows and has no
    transaction is executed right after the lease was renewed instead.
    """
    if _current.get() is None or not sql.lstrip().upper().startswith(WRITES):
        return execute(sql, params, many, context)
    is_as_it_is = connection.in_atomic_block or " RETURNING " in sql
    with nullcontext() if is_as_it_is else transaction.atomic():
        confirm()
        return execute(sql, params, many, context)
