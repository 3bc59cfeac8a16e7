"""Whether the parts that the web process needs are there."""

import logging
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from redis import Redis
from redis.exceptions import RedisError

from workspace.leases import LASTS
from workspace.models import Lease

SUPERVISOR = "supervisor"
LONGEST_SILENCE = timedelta(seconds=15)
log = logging.getLogger(__name__)


@login_not_required
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Answer 200 when database, broker and supervisor are there, else 503, naming what is not."""
    database = _state_of("database", _ask_database)
    broker = _state_of("broker", _ask_broker)
    silence = _supervisor_silence() if database == "ok" else None
    supervised = silence is not None and silence <= LONGEST_SILENCE.total_seconds()
    is_well = database == broker == "ok" and supervised
    return JsonResponse(
        {
            "status": "ok" if is_well else "degraded",
            "database": database,
            "broker": broker,
            "supervisor": silence,
        },
        status=200 if is_well else 503,
        headers={"Cache-Control": "no-store"},
    )


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


def _supervisor_silence() -> float | None:
    """Give the seconds since the supervisor last renewed its lease."""
    lease = Lease.objects.filter(name=SUPERVISOR).first()
    if lease is None:
        return None
    return round(max((timezone.now() - lease.expires_at + LASTS).total_seconds(), 0.0), 1)
