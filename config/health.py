"""Whether the parts that the web process needs are there, and how much they have to do."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from redis import Redis
from redis.exceptions import RedisError

from workspace.platform.errors import Forbidden
from workspace.platform.leases import LEASE_DURATION, Lease
from workspace.platform.requests import SignedInRequest
from workspace.status import system_status
from workspace.targets.selectors import trusted_targets_of_teams

SUPERVISOR = "supervisor"
MAX_TARGETS_SHOWN = 200
MAX_HEARTBEAT_AGE = timedelta(seconds=15)
log = logging.getLogger(__name__)


@login_not_required
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Answer 200 when database, broker and supervisor are there, else 503, naming what is not."""
    database = _state_of("database", _ask_database)
    broker = _state_of("broker", _ask_broker)
    silence = _supervisor_heartbeat_age() if database == "ok" else None
    supervised = silence is not None and silence <= MAX_HEARTBEAT_AGE.total_seconds()
    is_well = database == broker == "ok" and supervised
    status = system_status()
    return JsonResponse(
        {
            "status": "ok" if is_well else "degraded",
            "database": database,
            "broker": broker,
            "supervisor": silence,
            "tick_lag_seconds": status.tick_lag_seconds,
            "tick_seconds": status.tick_seconds,
            "oldest_job_seconds": status.oldest_job_seconds,
            "queues": [asdict(queue) for queue in status.queues],
            "processes": {name: asdict(usage) for name, usage in status.processes.items()},
            "database_connections": status.database_connections,
            "disk": {"free_bytes": status.disk_free_bytes, "total_bytes": status.disk_total_bytes},
        },
        status=200 if is_well else 503,
        headers={"Cache-Control": "no-store"},
    )


@require_safe
def system(request: SignedInRequest) -> HttpResponse:
    """Show an administrator of the installation how it is."""
    if not request.user.is_superuser:
        raise Forbidden("Only the installation's admin can see how it is.")
    trusted = list(trusted_targets_of_teams()[: MAX_TARGETS_SHOWN + 1])
    context = {
        "status": system_status(),
        "trusted": trusted[:MAX_TARGETS_SHOWN],
        "has_more_trusted": len(trusted) > MAX_TARGETS_SHOWN,
    }
    return render(request, "config/system.html", context)


def _state_of(part: str, ask: Callable[[], None]) -> str:
    try:
        ask()
    except (DatabaseError, RedisError) as error:
        log.warning("The %s does not answer: %s", part, error)
        return "unreachable"
    return "ok"


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _ask_broker() -> None:
    with Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2) as broker:
        broker.ping()


def _supervisor_heartbeat_age() -> float | None:
    """Return the seconds since the supervisor last renewed its lease."""
    times = Lease.objects.filter(name=SUPERVISOR).annotate(now=Now())  # leases go by that clock
    lease = times.first()
    if lease is None:
        return None
    silence: timedelta = lease.now - lease.expires_at + LEASE_DURATION
    return round(max(silence.total_seconds(), 0.0), 1)
