"""Where a service's requests go and which keys open it, as the database had it moments ago.

A change made by this process counts at once; one made by another within `FRESH_SECONDS`.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from channels.db import database_sync_to_async

from deploy.log_wishes import NO_LOG, LogWish, read_wish
from deploy.models import Opening, Replica, ReplicaState, Revision, Service, ServiceState
from deploy.revisions import standing_of
from deploy.rollout import shares

FRESH_SECONDS = 0.5
MOST_ROUTES = 10_000


class Address(NamedTuple):
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


class KeyTerms(NamedTuple):
    """A key of a service, and how often it may be used."""

    pk: int
    slot: str
    calls_per_minute: int | None


@dataclass(frozen=True)
class Served:
    """A revision that requests may go to: its percentage of them, and its replicas."""

    pk: int
    number: int
    weight: int
    replicas: tuple[Address, ...]


@dataclass(frozen=True)
class Route:
    """Where requests go: `revisions` share them, and `shadow` gets copies of them.

    A service that `is_asleep` has no replicas because nobody asked it for long; a request wakes it.
    `sticky_by` is "key", the name of a header, or "".
    """

    service_id: int
    team_id: int
    keys: Mapping[str, KeyTerms]
    revisions: tuple[Served, ...]
    state: str
    reason: str
    shadow: Served | None = None
    is_asleep: bool = False
    sticky_by: str = ""
    opening: Opening = Opening.KEYS
    request_log: LogWish = NO_LOG


class Name(NamedTuple):
    """How an address names a service."""

    team: str
    service: str


_forgotten: dict[Name, float] = {}


def forget_route(team: str, service: str) -> None:
    """Have the next request for a service read its route anew; something has just changed."""
    _forgotten[Name(team, service)] = time.monotonic()


class Routes:
    """Gives routes by name. Belongs to one event loop; requests that meet share one read."""

    def __init__(self) -> None:
        self._known: dict[Name, tuple[float, Route | None]] = {}
        self._reading: dict[Name, tuple[float, asyncio.Future[Route | None]]] = {}

    async def find(self, name: Name) -> Route | None:
        """Give the route of a service, or None when there is no such service."""
        known = self._known.get(name)
        if known is not None:
            at, route = known
            if time.monotonic() - at < FRESH_SECONDS and at > _forgotten.get(name, 0.0):
                return route
        return await self._read(name)

    async def _read(self, name: Name) -> Route | None:
        reading = self._reading.get(name)
        if reading is None or reading[0] <= _forgotten.get(name, 0.0):
            reading = time.monotonic(), asyncio.ensure_future(_load(name))
            self._reading[name] = reading
        _, task = reading
        try:
            route = await asyncio.shield(task)
        finally:
            if task.done() and self._reading.get(name) is reading:
                del self._reading[name]
        if len(self._known) >= MOST_ROUTES:
            self._known.clear()
        self._known[name] = reading[0], route
        return route


def load(name: Name) -> Route | None:
    """Read a route from the database."""
    service = Service.objects.filter(
        team__slug=name.team, name=name.service, deleted_at=None
    ).first()
    if service is None:
        return None
    ready = _ready_replicas(service)
    standing = [
        standing_of(revision, len(ready[revision.pk]))
        for revision in Revision.objects.filter(pk__in=ready)
    ]
    shared = shares(standing)
    served = [
        Served(one.pk, one.number, shared.get(one.pk, 0), tuple(ready[one.pk])) for one in standing
    ]
    shadows = [one.pk for one in standing if one.is_shadow]
    return Route(
        service_id=service.pk,
        team_id=service.team_id,
        keys=_keys(service),
        opening=Opening(service.opening),
        request_log=read_wish(service.request_log),
        revisions=tuple(one for one in served if one.pk in shared),
        shadow=next((one for one in served if one.pk in shadows), None),
        is_asleep=_is_asleep(service) and not shared,
        sticky_by=service.sticky_by,
        state=service.state,
        reason=service.state_reason,
    )


def _keys(service: Service) -> dict[str, KeyTerms]:
    fields = ("digest", "pk", "slot", "calls_per_minute")
    return {digest: KeyTerms(*terms) for digest, *terms in service.keys.values_list(*fields)}


def _ready_replicas(service: Service) -> dict[int, list[Address]]:
    """Give the addresses of a service's ready replicas by the pk of their revision."""
    found: dict[int, list[Address]] = {}
    for revision, address, grpc, model in Replica.objects.filter(
        revision__service=service, state=ReplicaState.READY
    ).values_list("revision", "address", "grpc_address", "revision__model_version__model__name"):
        host, _, port = address.rpartition(":")
        found.setdefault(revision, []).append(Address(host, int(port), model, grpc))
    return found


def _is_asleep(service: Service) -> bool:
    has_hope = service.is_wanted and service.state != ServiceState.FAILED
    return has_hope and service.autoscale.get("idle_seconds") is not None


_load = database_sync_to_async(load, thread_sensitive=False)
