"""The connection to the broker of code that has no event loop, kept for the whole process."""

from functools import cache

from django.conf import settings
from redis import Redis


@cache
def connection() -> Redis:
    return Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=5)
