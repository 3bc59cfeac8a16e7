"""Facts about runs: stored with a number first, then announced to watchers on commit."""

from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings
from django.db import transaction
from django.db.models import F
from redis.exceptions import RedisError

from runs.models import Run, RunEvent
from workspace import broker


def group_of_run(run_id: int) -> str:
    return f"run-{run_id}"


def group_of_service(service_id: int) -> str:
    return f"service-{service_id}"


async def anudge(group: str, what: str, process: str = "") -> None:
    """Tell watchers of `group` that there is more to read; a lost nudge loses nothing."""
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        await layer.group_send(group, {"type": "nudge", "what": what, "process": process})
    except Exception as error:  # the layer raises what its transport raises
        broker.complain("Watchers could not be nudged", error)


def nudge(group: str, what: str, process: str = "") -> None:
    """Nudge from code that has no event loop.

    To make a loop for it, and in it a connection, would take longer than all else that most
    reports of runners and steps of runs do.
    """
    layer = get_channel_layer()
    if not isinstance(layer, RedisPubSubChannelLayer):
        async_to_sync(anudge)(group, what, process)
        return
    channel = f"{settings.CHANNEL_PREFIX}__group__{group}"
    message = layer.serialize({"type": "nudge", "what": what, "process": process})
    try:
        with broker.asked() as asked:
            asked.publish(channel, message)
    except RedisError as error:
        broker.complain("Watchers could not be nudged", error)


def nudge_on_commit(group: str, what: str, process: str = "") -> None:
    transaction.on_commit(partial(nudge, group, what, process))


def record(run: Run, type: str, **data: Any) -> RunEvent:
    """Store a fact about a run under its next number, and announce it on commit.

    The number grows in an UPDATE that holds the run's row until commit, so numbers appear in order.
    """
    with transaction.atomic():
        Run.objects.filter(pk=run.pk).update(last_seq=F("last_seq") + 1)
        run.refresh_from_db(fields=["last_seq"])
        event = RunEvent.objects.create(run=run, seq=run.last_seq, type=type, data=data)
        nudge_on_commit(group_of_run(run.pk), "event")
    return event
