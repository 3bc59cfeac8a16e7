"""A tick over many services asks the database as often as one over few."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deploy.models import (
    REPLICA_ROLE,
    Replica,
    ReplicaState,
    Revision,
    Service,
    ServiceState,
    Traffic,
)
from deploy.supervision.reconciler import ServiceReconciler
from models.models import ModelVersion, RegisteredModel
from runs.models import ProcessGroup
from runs.states import ProcessState
from tests.factories import make_process, make_target
from tests.fakes import FakeBackend
from tests.runs.conftest import backend
from workspace.models import Team

__all__ = ["backend"]  # a fixture
pytestmark = pytest.mark.django_db
MakeService = Callable[..., Service]


@pytest.fixture
def make_service(team: Team, backend: FakeBackend) -> MakeService:
    """Return what makes services of one revision; its replica lives on the target, if it has one.

    Replicas have no address, so that nobody asks them how they are.
    """
    target = make_target(team)
    model = RegisteredModel.objects.create(team=team, name="digits")
    version = ModelVersion.objects.create(
        model=model, version=1, framework_version="2.21", file_count=1, total_bytes=1, scan=[]
    )
    numbers = count()

    def make(
        state: ServiceState = ServiceState.HEALTHY,
        reason: str = "",
        replica: ReplicaState | None = ReplicaState.READY,
        options: Mapping[str, object] | None = None,
        **revision: object,
    ) -> Service:
        service = Service.objects.create(
            team=team,
            name=f"digits-{next(numbers)}",
            target=target,
            state=state,
            state_reason=reason,
            **(options or {}),
        )
        values = {"verified_at": timezone.now(), **revision}
        made = Revision.objects.create(service=service, number=1, model_version=version, **values)
        if replica is not None:
            group = ProcessGroup.objects.create(
                label=f"service-{service.pk}-0",
                team=team,
                target=target,
                barrier_opened_at=timezone.now(),
            )
            make_process(group, REPLICA_ROLE, state=ProcessState.RUNNING)
            backend.alive[group.label] = {f"{REPLICA_ROLE}-0"}
            Replica.objects.create(revision=made, number=0, group=group, state=replica)
        return service

    return make


def queries_of_a_tick() -> int:
    reconciler = ServiceReconciler()
    reconciler.tick()
    with CaptureQueriesContext(connection) as captured:
        reconciler.tick()
    return len(captured)


def state_of(service: Service) -> tuple[str, str]:
    service.refresh_from_db()
    return service.state, service.state_reason


SETTLED: dict[str, dict[str, Any]] = {
    "healthy": {},
    "autoscaled": {"options": {"autoscale": {"max_replicas": 3}}},
    "to be rolled back if it fails": {"options": {"rollback": {"error_rate": 0.1}}},
    "its model is being loaded": {
        "state": ServiceState.TRANSITIONING,
        "reason": "The model is being loaded.",
        "replica": ReplicaState.STARTING,
        "verified_at": None,
    },
    "failed": {
        "state": ServiceState.FAILED,
        "reason": "The weights are damaged.",
        "replica": None,
        "failure": "The weights are damaged.",
        "verified_at": None,
    },
    "scaled to zero": {
        "reason": "Scaled to zero: no recent requests. The next request starts a replica.",
        "replica": None,
        "replica_count": 0,
    },
}


@pytest.mark.parametrize("kind", SETTLED)
def test_no_query_is_made_for_a_service_of_which_nothing_is_to_be_done(
    make_service: MakeService, kind: str
) -> None:
    services = [make_service(**SETTLED[kind])]
    told = state_of(services[0])
    few = queries_of_a_tick()
    services += [make_service(**SETTLED[kind]) for _ in range(20)]
    assert queries_of_a_tick() == few
    assert {state_of(service) for service in services} == {told}


def test_one_whose_replica_is_gone_is_found_among_many(
    make_service: MakeService, backend: FakeBackend
) -> None:
    services = [make_service() for _ in range(5)]
    reconciler = ServiceReconciler()
    reconciler.tick()
    backend.alive[f"service-{services[3].pk}-0"] = set()
    ServiceReconciler().tick()
    assert [state_of(service)[0] for service in services] == [
        ServiceState.HEALTHY,
        ServiceState.HEALTHY,
        ServiceState.HEALTHY,
        ServiceState.UNHEALTHY,
        ServiceState.HEALTHY,
    ]
    assert "disappeared" in state_of(services[3])[1]


CHANGES: dict[str, tuple[Callable[[Service], object], ServiceState]] = {
    "it is stopped": (
        lambda service: Service.objects.filter(pk=service.pk).update(is_wanted=False),
        ServiceState.TRANSITIONING,
    ),
    "its revision failed": (
        lambda service: service.revisions.update(failure="It was rolled back.", verified_at=None),
        ServiceState.UNHEALTHY,
    ),
    "it has more requests in flight than one replica takes": (
        lambda service: Traffic.objects.create(
            revision=service.revisions.get(),
            at=timezone.now() - timedelta(seconds=5),
            source="a web process",
            requests=100,
            in_flight=20.0,
        ),
        ServiceState.TRANSITIONING,
    ),
    "its replica does not answer": (
        lambda service: Replica.objects.filter(revision__service=service).update(
            state=ReplicaState.UNHEALTHY, unhealthy_at=timezone.now(), reason="is not ready"
        ),
        ServiceState.UNHEALTHY,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_one_among_many_is_acted_upon(make_service: MakeService, change: str) -> None:
    options = {"autoscale": {"max_replicas": 3}}
    services = [make_service(options=options) for _ in range(3)]
    reconciler = ServiceReconciler()
    reconciler.tick()
    make, state = CHANGES[change]
    make(services[1])
    reconciler.tick()
    assert [state_of(service)[0] for service in services] == [
        ServiceState.HEALTHY,
        state,
        ServiceState.HEALTHY,
    ]
