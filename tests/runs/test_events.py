"""Nudges: what tells watchers that there is more to read."""

import asyncio

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from redis import Redis

from runs.events import notify_watchers_async, nudge


async def test_a_nudge_from_code_without_a_loop_reaches_watchers_like_any_other(
    broker: Redis,
) -> None:
    layer = get_channel_layer()
    assert layer is not None
    channel = await layer.new_channel()
    await layer.group_add("run-1", channel)

    await sync_to_async(nudge)("run-1", "process", "worker-0")
    await notify_watchers_async("run-1", "log", "worker-0")

    received = [await asyncio.wait_for(layer.receive(channel), 10) for _ in range(2)]
    assert received == [
        {"type": "nudge", "what": "process", "process": "worker-0"},
        {"type": "nudge", "what": "log", "process": "worker-0"},
    ]
    await layer.flush()


def test_a_nudge_without_a_broker_is_lost_and_said_so(broker: Redis, settings, caplog) -> None:
    from workspace.platform import broker as shared_broker

    settings.REDIS_URL = "unix:///nowhere/valkey.sock"
    shared_broker.forget()
    nudge("run-1", "event")
    assert "Watchers could not be notified" in caplog.text
