"""The connection to the broker of code that has no event loop, kept for the whole process."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from django.conf import settings
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

LET_REST_SECONDS = 5.0
COMPLAIN_EVERY_SECONDS = 60.0
_hung_at = float("-inf")
_complained_at: dict[str, float] = {}
log = logging.getLogger(__name__)


@cache
def connection() -> Redis:
    return Redis.from_url(settings.REDIS_URL, **settings.BROKER_PATIENCE)


@contextmanager
def asked() -> Iterator[Redis]:
    """Give the connection for something that can do without an answer. Raises RedisError.

    A broker that hangs is left alone for a while: otherwise every single call would wait for it.
    """
    global _hung_at
    if time.monotonic() - _hung_at < LET_REST_SECONDS:
        raise RedisConnectionError("It did not answer a moment ago.")
    try:
        yield connection()
    except RedisTimeoutError:
        _hung_at = time.monotonic()
        raise


def complain(what: str, error: Exception) -> None:
    """Log that something went without the broker, once in a while and not each time."""
    now = time.monotonic()
    if now - _complained_at.get(what, float("-inf")) >= COMPLAIN_EVERY_SECONDS:
        _complained_at[what] = now
        log.warning("%s: %s", what, error)
