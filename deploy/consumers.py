"""The websocket of a service: its state, its replicas and their logs, live."""

from dataclasses import dataclass, field
from typing import ClassVar

from django.contrib.auth.models import User

from deploy.logs import logs_of_service
from deploy.models import Service
from deploy.selectors import living_replicas, service_of
from runs.events import group_of_service
from runs.live.consumers import Receive, Scope, Send, watch
from runs.live.feeds import FeedSource
from runs.live.messages import WebsocketMessage
from runs.logs.sources import LogSource
from workspace.accounts.selectors import team_for


@dataclass(frozen=True)
class ReplicaStatus:
    """The state of one replica, inside the message of its service."""

    name: str
    state: str
    reason: str


@dataclass(frozen=True)
class ServiceStatusMessage(WebsocketMessage):
    """The state of a service and of its replicas that have not ended."""

    type: ClassVar[str] = "service.status"
    state: str
    reason: str
    replicas: list[ReplicaStatus]


@dataclass
class ServiceFeedSource:
    """A service, as a source of messages for its watchers."""

    service_id: int
    channel: str = field(init=False)

    def __post_init__(self) -> None:
        self.channel = group_of_service(self.service_id)

    def messages(self, kinds: frozenset[str]) -> list[WebsocketMessage]:
        if not kinds & {"event", "process"}:
            return []
        service = Service.objects.get(pk=self.service_id)
        return [
            ServiceStatusMessage(
                state=service.state,
                reason=service.state_reason,
                replicas=[
                    ReplicaStatus(replica.name, replica.state, replica.reason)
                    for replica in living_replicas(service)
                ],
            )
        ]

    def metric_steps(self) -> dict[str, int]:
        return {}

    def logs(self) -> dict[str, LogSource]:
        return logs_of_service(Service.objects.get(pk=self.service_id))


async def watch_service(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one watcher of a service until it disconnects or loses access."""
    kwargs = scope["url_route"]["kwargs"]

    def find(user: User) -> FeedSource:
        return ServiceFeedSource(service_of(team_for(user, kwargs["slug"]), kwargs["name"]).pk)

    await watch(scope, receive, send, find)
