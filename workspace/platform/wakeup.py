"""Wake-ups of the supervisor: sent when there is something to do, so that it need not poll."""

import time

from redis.exceptions import RedisError

from workspace.platform import broker

KEY = "trainyard:wakeup"


def send() -> None:
    """Wake the supervisor. A broker that is down costs a second's delay and nothing else."""
    try:
        with broker.asked() as asked, asked.pipeline(transaction=False) as pipe:
            pipe.lpush(KEY, 1)
            pipe.ltrim(KEY, 0, 0)
            pipe.execute()
    except RedisError as error:
        broker.log_throttled("Could not wake the supervisor", error)


def wait(seconds: float) -> None:
    """Return when a wake-up arrives, or after `seconds`."""
    try:
        with broker.asked() as asked:
            asked.brpop([KEY], timeout=seconds)
    except RedisError:
        time.sleep(min(seconds, 0.5))
