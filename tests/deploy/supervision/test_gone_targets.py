"""An engine that is gone for good is removed or given a new address, once somebody agreed to it."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from redis import Redis

from deploy import services
from deploy.models import Replica, ReplicaState, Service, ServiceState
from deploy.supervision.reconciler import ServiceReconciler
from runs.models import ProcessGroup, Run
from runs.services import request_cancel
from runs.states import RunStatus
from runs.supervision.reconciler import RunReconciler
from tests.factories import (
    bearer,
    make_environment,
    make_group,
    make_process,
    make_run,
    make_target,
)
from tests.fakes import FakeBackend
from tests.models.registry import make_service, make_version
from workspace.compute.base import TargetUnreachable
from workspace.models import ComputeTarget, Team
from workspace.targets.reachability import Reachability

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/teams/default/targets/engine"


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    fake.silence = TargetUnreachable("No route to host.")
    monkeypatch.setattr("workspace.targets.backends.make_backend", lambda kind, access: fake)
    return fake


@pytest.fixture
def target(team: Team, gone: FakeBackend, broker: Redis) -> ComputeTarget:
    return make_target(team, "engine", kind="docker", address="tcp://192.0.2.1:2375", pool="old")


@pytest.fixture
def group(team: Team, bob: User, target: ComputeTarget) -> ProcessGroup:
    """The processes of a run that was ended though its engine did not answer."""
    run = make_run(team, bob, RunStatus.RUNNING, target=target)
    group = make_group(run)
    request_cancel(run, by=bob)
    request_cancel(run, by=bob)
    RunReconciler().tick()
    assert Run.objects.get().status == RunStatus.CANCELED
    return group


@pytest.fixture
def service(team: Team, bob: User, target: ComputeTarget) -> Service:
    """A service that was stopped and deleted, whose replica is said to be stopping for ever."""
    service = make_service(make_version(team, bob), is_wanted=True, state=ServiceState.HEALTHY)
    group = ProcessGroup.objects.create(
        label=f"service-{service.pk}-0", team=team, target=target, environment=make_environment()
    )
    make_process(group, "replica", 0)
    Replica.objects.create(
        revision=service.revisions.get(),
        number=0,
        group=group,
        state=ReplicaState.STOPPING,
        stopping_at=timezone.now(),
    )
    services.delete(service=service, by=bob)
    return service


def ask(client: Client, method: str, by: User, body: Any = None, query: str = "") -> Any:
    return client.generic(
        method,
        f"{ADDRESS}{query}",
        "{}" if body is None else body,
        content_type="application/json",
        headers=bearer(by),
    )


def tick() -> None:
    reachability = Reachability()
    RunReconciler(reachability).tick()
    ServiceReconciler(reachability).tick()


NEW_ADDRESS = '{"address": "tcp://198.51.100.2:2375", "without_tls": true}'


def test_it_is_deleted_once_what_may_be_left_is_agreed_to(
    client: Client, alice: User, group: ProcessGroup
) -> None:
    ProcessGroup.objects.update(encrypted_secrets="of its run")
    refused = ask(client, "DELETE", alice)
    assert refused.status_code == 409
    assert group.label in refused.json()["detail"]
    assert "leave_behind" in refused.json()["detail"]
    assert ask(client, "DELETE", alice, query="?leave_behind=true").status_code == 204
    assert not ComputeTarget.objects.exists()
    tick()
    group.refresh_from_db()
    assert group.removed_at
    assert group.is_fenced
    assert group.encrypted_secrets == ""


def test_at_a_new_address_what_is_left_is_looked_for_and_removed(
    client: Client, alice: User, group: ProcessGroup, gone: FakeBackend
) -> None:
    refused = ask(client, "PATCH", alice, NEW_ADDRESS)
    assert refused.status_code == 409
    assert [error["field"] for error in refused.json()["errors"]] == ["address"]
    moved = ask(client, "PATCH", alice, NEW_ADDRESS, "?leave_behind=true")
    assert moved.status_code == 200
    gone.silence = None
    tick()
    group.refresh_from_db()
    assert group.removed_at
    assert ("remove", group.label) in gone.calls


def test_a_service_that_would_stop_for_ever_goes_with_its_target(
    client: Client, alice: User, service: Service
) -> None:
    tick()
    assert Replica.objects.get().state == ReplicaState.STOPPING
    assert ask(client, "DELETE", alice).status_code == 409
    assert ask(client, "DELETE", alice, query="?leave_behind=true").status_code == 204
    tick()
    assert Replica.objects.get().state == ReplicaState.ENDED
    service.refresh_from_db()
    assert service.state == ServiceState.STOPPED


def test_the_pages_ask_with_the_names_of_what_may_be_left(
    client: Client, alice: User, group: ProcessGroup
) -> None:
    client.force_login(alice)
    page = "/t/default/targets/engine/settings/"
    shown = client.get(page).content.decode()
    assert shown.count(group.label) == 2, "in the question before it is deleted, and at the address"
    client.post("/t/default/targets/engine/delete/", {"leave_behind": "1"})
    assert not ComputeTarget.objects.exists()


def test_nothing_that_runs_is_left_behind(
    client: Client, alice: User, bob: User, team: Team, target: ComputeTarget
) -> None:
    make_group(make_run(team, bob, RunStatus.RUNNING, target=target))
    for method, body in (("DELETE", None), ("PATCH", NEW_ADDRESS)):
        assert ask(client, method, alice, body, "?leave_behind=true").status_code == 409
