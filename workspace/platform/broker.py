"""The connection to the broker of code that has no event loop, kept for the whole process."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from typing import Any

from django.conf import settings
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from workspace.platform.clock import Pace

BACKOFF_SECONDS = 5.0
LOG_INTERVAL_SECONDS = 60.0
_timed_out_at = float("-inf")
_logs = Pace(LOG_INTERVAL_SECONDS)
log = logging.getLogger(__name__)


class JobQueue(StrEnum):
    """The queues of workers, one for each kind of job, so that none waits for another kind.

    `config.server.parts` says which worker takes from which.
    """

    DEFAULT = "default"  # what takes seconds
    METRICS = "metrics"
    BUILDS = "builds"
    CONVERSIONS = "conversions"
    MAINTENANCE = "maintenance"


@cache
def connection() -> Redis:
    return Redis.from_url(settings.REDIS_URL, **settings.BROKER_TIMEOUTS)


@contextmanager
def asked() -> Iterator[Redis]:
    """Yield the connection for something that can do without an answer. Raises RedisError.

    A broker that hangs is left alone for a while: otherwise every single call would wait for it.
    """
    global _timed_out_at
    if time.monotonic() - _timed_out_at < BACKOFF_SECONDS:
        raise RedisConnectionError("It did not respond to the last check.")
    try:
        yield connection()
    except RedisTimeoutError:
        _timed_out_at = time.monotonic()
        raise


def forget() -> None:
    """Close the connection and forget the failures, as in a process that has just begun."""
    global _timed_out_at
    if connection.cache_info().currsize:
        connection().close()
    connection.cache_clear()
    _timed_out_at = float("-inf")
    _logs.clear()


def load_json(key: str) -> Any:
    """Return what is stored under a key, or None where that is nothing, or no broker answers."""
    try:
        with asked() as redis:
            stored = redis.get(key)
    except RedisError:
        return None
    return None if stored is None else json.loads(stored)


def store_json(key: str, value: object, seconds: int) -> None:
    """Store a value for a while. Raises RedisError."""
    with asked() as redis:
        redis.set(key, json.dumps(value), ex=seconds)


def log_throttled(what: str, error: Exception) -> None:
    """Log that something went without the broker, once in a while and not each time."""
    if _logs.is_due(what):
        log.warning("%s: %s", what, error)
