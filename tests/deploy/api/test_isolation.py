"""Models that reach beyond themselves are served where containers hold them alone."""

from typing import Any

import django_rq
import pytest
from django.contrib.auth.models import User
from django.test import Client
from redis import Redis
from rq import SimpleWorker

from deploy.models import Replica, Service, ServiceState
from deploy.services import check_isolation
from deploy.supervision.reconciler import ServiceReconciler
from models.models import ModelVersion
from models.selectors import scan_of
from tests.factories import bearer, make_target
from tests.models.registry import make_service, make_version
from workspace.models import ComputeTarget, Team
from workspace.platform.broker import JobQueue

SERVICES = "/api/v1/teams/default/services"

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def target(team: Team) -> ComputeTarget:
    return make_target(team)


def deploy(client: Client, by: User, model: str, **changes: Any) -> Any:
    body = {"name": "digits", "model": model, **changes}
    return client.post(SERVICES, body, "application/json", headers=bearer(by))


def test_a_model_that_reads_files_is_refused_without_containers(
    client: Client, bob: User, team: Team, target: ComputeTarget, settings: Any
) -> None:
    make_version(team, bob, graph={"ops": ("MatMul", "ReadFile")})
    refused = deploy(client, bob, "digits:1")
    assert refused.status_code == 400
    (error,) = refused.json()["errors"]
    assert error["field"] == "target"
    assert "may read files or reach others" in error["message"]
    settings.TRAINYARD_ALLOW_UNCONFINED_MODELS = True
    assert deploy(client, bob, "digits:1").status_code == 201


def test_a_service_is_not_led_to_one_later(
    client: Client, bob: User, team: Team, target: ComputeTarget
) -> None:
    make_version(team, bob)
    assert deploy(client, bob, "digits:1").status_code == 201
    make_version(team, bob, graph={"ops": ("MatMul", "ReadFile")})
    changed = client.patch(
        f"{SERVICES}/digits", {"model": "digits:2"}, "application/json", headers=bearer(bob)
    )
    assert changed.status_code == 400
    assert changed.json()["errors"][0]["field"] == "target"


@pytest.fixture
def old_service(team: Team, target: ComputeTarget) -> Service:
    """Return a service from before the rule, whose model writes files."""
    version = make_version(team, graph={"ops": ("MatMul", "WriteFile")})
    return make_service(version, "old", state=ServiceState.TRANSITIONING, is_wanted=True)


def reason_after_a_tick(service: Service) -> str:
    ServiceReconciler().tick()
    service.refresh_from_db()
    assert service.revisions.get().failure == "", "given up"
    assert not Replica.objects.exists()
    return service.state_reason


def test_a_service_from_before_the_rule_waits_until_the_admin_allows_it(
    old_service: Service, broker: Redis, settings: Any
) -> None:
    assert "TRAINYARD_ALLOW_UNCONFINED_MODELS=1" in reason_after_a_tick(old_service)
    settings.TRAINYARD_ALLOW_UNCONFINED_MODELS = True
    assert reason_after_a_tick(old_service) == "The model's environment is being built."


def test_a_service_from_before_the_rule_can_be_scaled(
    client: Client, bob: User, old_service: Service
) -> None:
    scaled = client.patch(
        f"{SERVICES}/old", {"replicas": 2}, "application/json", headers=bearer(bob)
    )
    assert scaled.status_code == 200
    assert old_service.revisions.latest("number").replica_count == 2


def work_off(broker: Redis) -> None:
    queue = django_rq.get_queue(JobQueue.DEFAULT)
    assert queue.count == 1, "asked for once, however many ticks wait for it"
    SimpleWorker([queue], connection=queue.connection).work(burst=True)


def test_the_supervisor_has_a_worker_scan_and_waits(
    team: Team, target: ComputeTarget, broker: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(make_version(team), "old", is_wanted=True)
    ModelVersion.objects.update(scan=None)
    with monkeypatch.context() as patched:
        patched.setattr("models.savedmodel.inspection.subprocess", None)  # no time in a tick
        for _ in range(2):
            assert reason_after_a_tick(service) == "The model is being scanned."
    work_off(broker)
    assert reason_after_a_tick(service) == "The model's environment is being built."


def test_a_model_that_cannot_be_scanned_counts_as_reaching_others(
    team: Team, target: ComputeTarget, broker: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(make_version(team), "old", is_wanted=True)
    ModelVersion.objects.update(scan=None)
    reason_after_a_tick(service)
    monkeypatch.setattr("models.savedmodel.inspection.READ_SECONDS", 0)
    work_off(broker)
    assert "TRAINYARD_ALLOW_UNCONFINED_MODELS=1" in reason_after_a_tick(service)
    (finding,) = scan_of(ModelVersion.objects.get())
    assert "could not be read within 0 s" in finding["message"]


def test_containers_hold_any_model(team: Team) -> None:
    version = make_version(team, graph={"ops": ("MatMul", "ReadFile")})
    check_isolation(version, make_target(team, "engine", kind="docker", address="tcp://x:1"))
