"""What happens when a service changes: it is audited, and pages, gateway and supervisor hear it."""

import time
from functools import partial
from typing import NamedTuple

from django.contrib.auth.models import User
from django.db import transaction

from deploy.models import Service
from runs.events import group_of_service, nudge_on_commit
from workspace.audit import audit
from workspace.platform import wakeup


class ServiceName(NamedTuple):
    """How an address names a service."""

    team: str
    service: str


_invalidated_at: dict[ServiceName, float] = {}


def invalidate_route(team: str, service: str) -> None:
    """Make the next request for a service read its route anew."""
    _invalidated_at[ServiceName(team, service)] = time.monotonic()


def is_invalidated_since(name: ServiceName, at: float) -> bool:
    """Return whether what was read of a service at a monotonic time may be outdated."""
    return _invalidated_at.get(name, 0.0) >= at


def record_change(service: Service, by: User | None, action: str, **data: object) -> None:
    """Record a change, and tell the open pages, the gateway and the supervisor after commit."""
    audit(team=service.team, actor=by, action=action, subject=service.name, **data)
    nudge_on_commit(group_of_service(service.pk), "event")
    transaction.on_commit(partial(invalidate_route, service.team.slug, service.name))
    transaction.on_commit(wakeup.send)
