"""Where a service's requests go and which keys open it, as the database had it moments ago.

A change made by this process counts at once; one made by another within
`recent_values.CACHE_SECONDS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from channels.db import database_sync_to_async

from deploy.events import ServiceName, is_invalidated_since
from deploy.gateway.recent_values import RecentValues
from deploy.models import AccessPolicy, Replica, ReplicaState, Revision, Service, ServiceState
from deploy.rollout.plan import traffic_split
from deploy.rollout.revisions import revision_view
from deploy.traffic.log_policy import NO_LOG, LogPolicy, log_policy


class ReplicaAddress(NamedTuple):
    """A replica's model server: where it listens, and what its model is called there.

    `grpc` is its address for gRPC, as host:port, and empty where it has none.
    """

    host: str
    port: int
    model: str
    grpc: str = ""

    @property
    def rest(self) -> str:
        return f"{self.host}:{self.port}"


class KeyPolicy(NamedTuple):
    """A key of a service, and how often it may be used."""

    pk: int
    slot: str
    calls_per_minute: int | None


@dataclass(frozen=True)
class RevisionRoute:
    """A revision that requests may go to: its percentage of them, and its replicas."""

    pk: int
    number: int
    weight: int
    replicas: tuple[ReplicaAddress, ...]


@dataclass(frozen=True)
class ServiceRoute:
    """Where requests go: `revisions` share them, and `shadow` gets copies of them.

    A service that `is_scaled_to_zero` has no replicas because nobody asked it for long; a request
    wakes it. `sticky_by` is "key", the name of a header, or "".
    """

    service_id: int
    team_id: int
    keys: Mapping[str, KeyPolicy]
    revisions: tuple[RevisionRoute, ...]
    state: str
    reason: str
    shadow: RevisionRoute | None = None
    is_scaled_to_zero: bool = False
    sticky_by: str = ""
    access_policy: AccessPolicy = AccessPolicy.KEYS
    request_log: LogPolicy = NO_LOG
    allowed_origins: frozenset[bytes] = frozenset()


class Routes:
    """Returns routes by name. Belongs to one event loop."""

    def __init__(self) -> None:
        self._recent: RecentValues[ServiceName, ServiceRoute | None] = RecentValues(
            _load, is_invalidated_since
        )

    async def find(self, name: ServiceName) -> ServiceRoute | None:
        """Return the route of a service, or None when there is no such service."""
        return await self._recent.get(name)


def load(name: ServiceName) -> ServiceRoute | None:
    """Read a route from the database."""
    service = Service.objects.filter(
        team__slug=name.team, name=name.service, deleted_at=None
    ).first()
    if service is None:
        return None
    ready = _ready_replicas(service)
    view = [
        revision_view(revision, len(ready[revision.pk]))
        for revision in Revision.objects.filter(pk__in=ready)
    ]
    shared = traffic_split(view)
    served = [
        RevisionRoute(one.pk, one.number, shared.get(one.pk, 0), tuple(ready[one.pk]))
        for one in view
    ]
    shadows = [one.pk for one in view if one.is_shadow]
    return ServiceRoute(
        service_id=service.pk,
        team_id=service.team_id,
        keys=_keys(service),
        access_policy=AccessPolicy(service.access_policy),
        request_log=log_policy(service.request_log),
        revisions=tuple(one for one in served if one.pk in shared),
        shadow=next((one for one in served if one.pk in shadows), None),
        is_scaled_to_zero=_is_asleep(service) and not shared,
        sticky_by=service.sticky_by,
        allowed_origins=frozenset(origin.encode() for origin in service.allowed_origins),
        state=service.state,
        reason=service.state_reason,
    )


def _keys(service: Service) -> dict[str, KeyPolicy]:
    fields = ("digest", "pk", "slot", "calls_per_minute")
    return {digest: KeyPolicy(*terms) for digest, *terms in service.keys.values_list(*fields)}


def _ready_replicas(service: Service) -> dict[int, list[ReplicaAddress]]:
    """Return the addresses of a service's ready replicas by the pk of their revision."""
    found: dict[int, list[ReplicaAddress]] = {}
    for revision, address, grpc, model in Replica.objects.filter(
        revision__service=service, state=ReplicaState.READY
    ).values_list("revision", "address", "grpc_address", "revision__model_version__model__name"):
        host, _, port = address.rpartition(":")
        found.setdefault(revision, []).append(ReplicaAddress(host, int(port), model, grpc))
    return found


def _is_asleep(service: Service) -> bool:
    has_hope = service.is_wanted and service.state != ServiceState.FAILED
    return has_hope and service.autoscale.get("idle_seconds") is not None


_load = database_sync_to_async(load, thread_sensitive=False)
