"""The doorbell of the supervisor: rung when there is something to do, so that it need not poll."""

import time

from redis.exceptions import RedisError

from workspace import broker

KEY = "trainyard:bell"


def ring() -> None:
    """Wake the supervisor. A broker that is down costs a second's delay and nothing else."""
    try:
        with broker.asked() as asked, asked.pipeline(transaction=False) as pipe:
            pipe.lpush(KEY, 1)
            pipe.ltrim(KEY, 0, 0)
            pipe.execute()
    except RedisError as error:
        broker.complain("The bell could not be rung", error)


def wait(seconds: float) -> None:
    """Return when the bell is rung, or after `seconds`."""
    try:
        with broker.asked() as asked:
            asked.brpop([KEY], timeout=seconds)
    except RedisError:
        time.sleep(min(seconds, 0.5))
