"""How the installation is: what waits, how late the supervisor is, what processes hold open, disk.

Out: a `SystemStatus`, for the health endpoint, the page of administrators and Prometheus.
"""

import os
import shutil
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit

import django_rq
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone
from redis.exceptions import RedisError
from rq.job import Job

from workspace.platform import broker
from workspace.platform.broker import JobQueue

TICK_KEY = "trainyard:tick"
TICK_KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class OpenHandles:
    """What a process holds open; `connections` are those of its descriptors that are sockets."""

    descriptors: int
    max_descriptors: int
    threads: int
    connections: int


@dataclass(frozen=True)
class QueueStatus:
    """How many jobs of a kind wait, and for how long the first of them has."""

    name: str
    waiting: int
    oldest_seconds: float


@dataclass(frozen=True)
class SystemStatus:
    """`tick_lag_seconds` is the time since the supervisor's last tick, which took `tick_seconds`.

    What cannot be found out is None, or an empty list.
    """

    tick_lag_seconds: float | None
    tick_seconds: float | None
    queues: list[QueueStatus]
    web: OpenHandles
    supervisor: OpenHandles | None
    database_connections: int | None
    disk_free_bytes: int
    disk_total_bytes: int

    @property
    def oldest_job_seconds(self) -> float:
        return max((queue.oldest_seconds for queue in self.queues), default=0.0)

    @property
    def processes(self) -> dict[str, OpenHandles]:
        known = {"web": self.web, "supervisor": self.supervisor}
        return {name: usage for name, usage in known.items() if usage is not None}


def own_usage() -> OpenHandles:
    """Return what this process holds open."""
    sockets = descriptors = 0
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that listed them is closed by now
            sockets += os.readlink(f"/proc/self/fd/{entry}").startswith("socket:")
            descriptors += 1
    return OpenHandles(
        descriptors=descriptors,
        max_descriptors=getrlimit(RLIMIT_NOFILE)[0],
        threads=threading.active_count(),
        connections=sockets,
    )


def report_tick(seconds: float) -> None:
    """Let others know that the supervisor, this process, has made a tick, and how it is."""
    report = {"seconds": seconds, **asdict(own_usage())}
    with suppress(RedisError):
        broker.store_json(TICK_KEY, report, TICK_KEPT_SECONDS)


def system_status() -> SystemStatus:
    """Return how the installation is now, as this process sees it."""
    tick = broker.load_json(TICK_KEY) or {}
    disk = shutil.disk_usage(Path(settings.TRAINYARD_HOME))
    seconds = tick.pop("seconds", None)
    return SystemStatus(
        tick_lag_seconds=_tick_lag(),
        tick_seconds=None if seconds is None else round(seconds, 3),
        queues=_queues(),
        web=own_usage(),
        supervisor=OpenHandles(**tick) if tick else None,
        database_connections=_database_connections(),
        disk_free_bytes=disk.free,
        disk_total_bytes=disk.total,
    )


def _tick_lag() -> float | None:
    """Return for how long the report of the last tick has been kept, by the broker's own clock."""
    try:
        with broker.asked() as redis:
            left = redis.pttl(TICK_KEY)
    except RedisError:
        return None
    return None if left < 0 else round(TICK_KEPT_SECONDS - left / 1000, 1)


def _queues() -> list[QueueStatus]:
    try:
        with broker.asked():
            return [_queue(name) for name in JobQueue]
    except RedisError:
        return []


def _queue(name: JobQueue) -> QueueStatus:
    queue = django_rq.get_queue(name)
    oldest = 0.0
    jobs = Job.fetch_many(queue.get_job_ids(0, 1), connection=queue.connection)
    if jobs and jobs[0] is not None and jobs[0].enqueued_at is not None:
        waits = timezone.now() - jobs[0].enqueued_at.replace(tzinfo=UTC)
        oldest = round(max(waits.total_seconds(), 0.0), 1)
    return QueueStatus(name.value, queue.count, oldest)


def _database_connections() -> int | None:
    """Return how many connections the database's server has; SQLite has none."""
    if connection.vendor != "postgresql":
        return None
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            )
            return int(cursor.fetchone()[0])
    except DatabaseError:
        return None
