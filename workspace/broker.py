"""The connection to the broker of code that has no event loop, kept for the whole process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from django.conf import settings
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

LET_REST_SECONDS = 5.0
_hung_at = float("-inf")


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
