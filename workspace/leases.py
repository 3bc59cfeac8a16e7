"""Duties that one process at a time may have, each held by a lease that its holder renews."""

import os
import socket
import uuid
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from workspace.models import Lease

LASTS = timedelta(seconds=5)


def new_holder() -> str:
    """Give a name that no other process, nor this one after a restart, will have."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"[:100]


def take(name: str, holder: str) -> bool:
    """Take or renew a lease; give whether `holder` has it now."""
    now = timezone.now()
    Lease.objects.get_or_create(name=name, defaults={"expires_at": now})
    return bool(
        Lease.objects.filter(Q(holder=holder) | Q(expires_at__lte=now), name=name).update(
            holder=holder, expires_at=now + LASTS
        )
    )


def give_back(name: str, holder: str) -> None:
    Lease.objects.filter(name=name, holder=holder).update(holder="", expires_at=timezone.now())
