"""The doorbell of the supervisor: rung when there is something to do, so that it need not poll."""

import logging
import time
from functools import cache

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

KEY = "trainyard:bell"
log = logging.getLogger(__name__)


@cache
def _broker() -> Redis:
    return Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=5)


def ring() -> None:
    """Wake the supervisor. A broker that is down costs a second's delay and nothing else."""
    try:
        with _broker().pipeline(transaction=False) as pipe:
            pipe.lpush(KEY, 1)
            pipe.ltrim(KEY, 0, 0)
            pipe.execute()
    except RedisError as error:
        log.warning("The bell could not be rung: %s", error)


def wait(seconds: float) -> None:
    """Return when the bell is rung, or after `seconds`."""
    try:
        _broker().brpop([KEY], timeout=seconds)
    except RedisError:
        time.sleep(min(seconds, 0.5))
