"""Events of runs: stored with a number first, then announced to watchers on commit.

docs/protocols.md lists the types and their fields; tests/docs holds it against this module.
"""

from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import ClassVar

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from redis.exceptions import RedisError

from runs.models import Run, RunEvent
from workspace.platform import broker
from workspace.platform.json_records import JsonRecord


class EventData(JsonRecord):
    """What a row of RunEvent holds as `type` and `data`."""


@dataclass(frozen=True)
class RunSubmitted(EventData):
    """A run was created."""

    type: ClassVar[str] = "run.submitted"
    by: str


@dataclass(frozen=True)
class RunCancelRequested(EventData):
    """A user asked to cancel the run; `at_once` when asked again, which kills its processes."""

    type: ClassVar[str] = "run.cancel_requested"
    by: str
    at_once: bool = False


@dataclass(frozen=True)
class RunStatusChanged(EventData):
    """The run changed its status; `reason` is its end reason, where it has one."""

    type: ClassVar[str] = "run.status_changed"
    from_: str
    to: str
    reason: str


@dataclass(frozen=True)
class RunRequeueRequested(EventData):
    """The attempt is to be stopped and the run queued again.

    `reason` is a RequeueReason, `message` explains it. For a restart, the other fields say how
    the attempt ended.
    """

    type: ClassVar[str] = "run.requeue_requested"
    reason: str
    message: str = ""
    end_reason: str = ""
    process: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class RunMovedInQueue(EventData):
    """An admin moved the run in its queue; `priority` is null where it stayed the same."""

    type: ClassVar[str] = "run.moved_in_queue"
    by: str
    position: int
    priority: int | None = None


@dataclass(frozen=True)
class RunTargetUnreachable(EventData):
    """The run's compute target stopped answering."""

    type: ClassVar[str] = "run.target_unreachable"
    since: str
    reason: str


@dataclass(frozen=True)
class RunTargetReachable(EventData):
    """The run's compute target answers again, after being unreachable from `since` on."""

    type: ClassVar[str] = "run.target_reachable"
    since: str


@dataclass(frozen=True)
class RunHung(EventData):
    """No process of the run has made progress; `lines` holds the last log line of each."""

    type: ClassVar[str] = "run.hung"
    since: str
    lines: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunProgressResumed(EventData):
    """A run that had made no progress from `since` on makes progress again."""

    type: ClassVar[str] = "run.progress_resumed"
    since: str


@dataclass(frozen=True)
class ProcessExited(EventData):
    """The program of a process ended; `reason` is empty where the exit code says it all."""

    type: ClassVar[str] = "process.exited"
    process: str
    exit_code: int
    reason: str
    attempt: int


@dataclass(frozen=True)
class MetricsRefused(EventData):
    """Some metrics of a file were not stored."""

    type: ClassVar[str] = "metrics.refused"
    path: str
    message: str


EVENT_TYPES: dict[str, type[EventData]] = {
    kind.type: kind
    for kind in (
        RunSubmitted,
        RunCancelRequested,
        RunStatusChanged,
        RunRequeueRequested,
        RunMovedInQueue,
        RunTargetUnreachable,
        RunTargetReachable,
        RunHung,
        RunProgressResumed,
        ProcessExited,
        MetricsRefused,
    )
}


def event_data(event: RunEvent) -> EventData:
    """Return what a stored event says."""
    return EVENT_TYPES[event.type].from_json(event.data)


def record(run: Run, event: EventData) -> RunEvent:
    """Store an event of a run under its next number, and announce it on commit.

    The number grows in an UPDATE that holds the run's row until commit, so numbers appear in order.
    """
    with transaction.atomic():
        Run.objects.filter(pk=run.pk).update(last_seq=F("last_seq") + 1)
        run.refresh_from_db(fields=["last_seq"])
        return record_numbered(run, event, timezone.now())


def record_numbered(run: Run, event: EventData, at: datetime) -> RunEvent:
    """Store an event under `run.last_seq`, which the caller's transaction has just increased."""
    stored = RunEvent.objects.create(
        run=run, seq=run.last_seq, type=event.type, data=event.to_json(), at=at
    )
    nudge_on_commit(group_of_run(run.pk), "event")
    return stored


def group_of_run(run_id: int) -> str:
    return f"run-{run_id}"


def group_of_service(service_id: int) -> str:
    return f"service-{service_id}"


async def notify_watchers_async(group: str, what: str, process: str = "") -> None:
    """Tell watchers of `group` that there is more to read; a lost nudge loses nothing."""
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        await layer.group_send(group, {"type": "nudge", "what": what, "process": process})
    except Exception as error:  # the layer raises what its transport raises
        broker.log_throttled("Watchers could not be notified", error)


def nudge(group: str, what: str, process: str = "") -> None:
    """Notify watchers from code that has no event loop.

    To start a loop, and in it a connection, would take longer than the rest of most reports of
    runners and most steps of runs.
    """
    layer = get_channel_layer()
    if not isinstance(layer, RedisPubSubChannelLayer):
        async_to_sync(notify_watchers_async)(group, what, process)
        return
    channel = f"{settings.CHANNEL_PREFIX}__group__{group}"
    message = layer.serialize({"type": "nudge", "what": what, "process": process})
    try:
        with broker.asked() as asked:
            asked.publish(channel, message)
    except RedisError as error:
        broker.log_throttled("Watchers could not be notified", error)


def nudge_on_commit(group: str, what: str, process: str = "") -> None:
    transaction.on_commit(partial(nudge, group, what, process))
