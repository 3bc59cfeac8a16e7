"""The websocket of a service: its state, its replicas and their logs, live."""

from dataclasses import dataclass, field

from django.contrib.auth.models import User

from deploy.logs import logs_of_service
from deploy.models import Service
from deploy.selectors import living_replicas, service_of
from runs.consumers import Receive, Scope, Send, watch
from runs.events import group_of_service
from runs.live import Message, Subject
from runs.logs_watched import WatchedLog
from workspace.selectors import team_for


@dataclass
class ServiceSubject:
    """A service as watchers see it."""

    service_id: int
    channel: str = field(init=False)

    def __post_init__(self) -> None:
        self.channel = group_of_service(self.service_id)

    def facts(self, kinds: frozenset[str]) -> list[Message]:
        if not kinds & {"event", "process"}:
            return []
        service = Service.objects.get(pk=self.service_id)
        return [
            {
                "type": "service.status",
                "state": service.state,
                "reason": service.state_reason,
                "replicas": [
                    {"name": replica.name, "state": replica.state, "reason": replica.reason}
                    for replica in living_replicas(service)
                ],
            }
        ]

    def logs(self) -> dict[str, WatchedLog]:
        return logs_of_service(Service.objects.get(pk=self.service_id))


async def watch_service(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one watcher of a service until it leaves or may watch no longer."""
    kwargs = scope["url_route"]["kwargs"]

    def find(user: User) -> Subject:
        return ServiceSubject(service_of(team_for(user, kwargs["slug"]), kwargs["name"]).pk)

    await watch(scope, receive, send, find)
