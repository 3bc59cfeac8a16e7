"""Services on the local target, from the wish to the end, with a small stand-in for TensorFlow."""

import http.client
import json
import os
import signal
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from deploy.models import KeySlot, Replica, ReplicaState, Service, ServiceState
from deploy.rollout.traffic_policy import update
from deploy.selectors import living_replicas, scoring_uri
from deploy.services import delete, regenerate_key, start, stop
from deploy.supervision.reconciler import ServiceReconciler
from models.selectors import manifest_of
from runs.models import ProcessGroup
from runs.source.blobs import store_for
from tests.deploy.conftest import RegisterModel, ServiceStack
from workspace.models import Environment, EnvironmentState

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def call(
    method: str, address: str, body: bytes | None = None, key: str = "", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    bearer = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        connection.request(method, parts.path, body, bearer | headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None, dict(answer.getheaders())
    finally:
        connection.close()


def score(service: Service, key: str, body: bytes = b"{}") -> tuple[int, Any, dict[str, str]]:
    return call("POST", scoring_uri(service), body, key)


def pid_of(replica: Replica) -> int:
    """Find the process that serves a replica by its port."""
    port = replica.address.rpartition(":")[2]
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    command = file.read()
            except OSError:
                continue
            if f"--rest_api_port={port}\0".encode() in command and b"fake_modelserver" in command:
                return int(entry)
    raise AssertionError("the replica has no process")


def test_a_deployed_model_answers_and_stops_and_starts_again(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, key = stage.healthy(register())
    status, answer, _ = score(service, key)
    assert (status, answer["predictions"]) == (200, ["model 1", "/v1/models/digits:predict", 2])
    stop(service=service, by=stage.by)
    stage.wait_for_state(service, ServiceState.STOPPED)
    status, answer, _ = score(service, key)
    assert (status, answer) == (503, {"error": "This service is stopped; start it on its page"})
    assert not ProcessGroup.objects.filter(removed_at=None).exists()
    start(service=service, by=stage.by)
    stage.wait_for_state(service, ServiceState.HEALTHY)
    assert score(service, key)[0] == 200


def test_a_deleted_service_is_gone_and_its_name_free(
    stage: ServiceStack, register: RegisterModel
) -> None:
    version = register()
    service, key = stage.healthy(version)
    delete(service=service, by=stage.by)
    assert score(service, key)[0] == 401
    stage.wait_for_state(service, ServiceState.STOPPED)
    assert not ProcessGroup.objects.filter(removed_at=None).exists()
    stage.deploy(version)


def test_a_replica_that_dies_is_replaced(stage: ServiceStack, register: RegisterModel) -> None:
    service, key = stage.healthy(register())
    first = living_replicas(service).get()
    os.kill(pid_of(first), signal.SIGKILL)
    stage.wait_for_state(service, ServiceState.UNHEALTHY)
    stage.wait_for_state(service, ServiceState.HEALTHY)
    first.refresh_from_db()
    assert first.state == ReplicaState.ENDED
    assert first.reason.startswith("was killed by signal 9 (SIGKILL)")
    assert "serving digits 1" in first.reason
    assert score(service, key)[0] == 200


def test_a_hung_replica_is_noticed_and_then_replaced(
    stage: ServiceStack, register: RegisterModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.supervision.replicas.UNHEALTHY_AT_MOST", timedelta(seconds=1))
    monkeypatch.setattr("deploy.supervision.replicas.ASK_EVERY", 0.2)
    monkeypatch.setattr("deploy.supervision.health_checks.TIMEOUT_SECONDS", 0.5)
    service, key = stage.healthy(register("hang"))
    assert score(service, key, b'{"instances": ["hang"]}')[0] == 200
    stage.wait_for_state(service, ServiceState.UNHEALTHY)
    assert "did not respond to a health check" in service.state_reason
    stage.wait_for_state(service, ServiceState.HEALTHY)


def test_a_model_that_cannot_be_loaded_fails_at_once_with_the_reason(
    stage: ServiceStack, register: RegisterModel
) -> None:
    made = stage.deploy(register("broken"))
    service = stage.wait_for_state(made.service, ServiceState.FAILED)
    assert service.state_reason.startswith(
        "server-0 could not load the model: the weights are damaged"
    )
    assert Replica.objects.count() == 1
    status, answer, _ = score(service, made.keys[KeySlot.PRIMARY])
    assert status == 503
    assert "the weights are damaged" in answer["error"]


def test_a_model_whose_files_are_gone_fails_with_their_name(
    stage: ServiceStack, register: RegisterModel
) -> None:
    version = register()
    lost = next(entry for entry in manifest_of(version).entries if entry.path.endswith(".pb"))
    store_for(stage.team).path(lost.digest).unlink()
    made = stage.deploy(version)
    service = stage.wait_for_state(made.service, ServiceState.FAILED)
    assert service.state_reason == "saved_model.pb of digits:1 is missing from the storage."


def test_an_environment_that_cannot_be_built_fails_with_the_resolvers_words(
    stage: ServiceStack, register: RegisterModel
) -> None:
    made = stage.deploy(register())
    Environment.objects.update(
        state=EnvironmentState.FAILED, error="No solution found", built_at=timezone.now()
    )
    service = stage.wait_for_state(made.service, ServiceState.FAILED)
    assert service.state_reason.splitlines() == [
        "The environment could not be built.",
        "No solution found",
    ]


def test_one_that_dies_again_and_again_fails_with_its_last_words(
    stage: ServiceStack, register: RegisterModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.supervision.service_state.MAX_BACKOFF", timedelta(seconds=0.1))
    made = stage.deploy(register("die"))
    service = stage.wait_for_state(made.service, ServiceState.FAILED)
    assert service.state_reason.splitlines() == [
        "server-4 ended with exit code 9",
        "serving digits 1",
        "I have no wish to live",
    ]
    start(service=service, by=stage.by)
    stage.wait(lambda: Replica.objects.count() > 5, service)


def test_a_new_version_takes_over_without_a_failed_request(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, key = stage.healthy(register())
    update(service=service, by=stage.by, version=register("slow=1"))
    answers: list[tuple[int, str]] = []

    def is_over() -> bool:
        status, answer, _ = score(service, key)
        answers.append((status, answer["predictions"][0] if status == 200 else answer))
        return (
            living_replicas(service).count() == 1
            and stage.state_of(service) == ServiceState.HEALTHY
            and answers[-1][1] == "model 2"
        )

    stage.wait(is_over, service)
    assert {status for status, _ in answers} == {200}
    assert {name for _, name in answers} == {"model 1", "model 2"}


def test_a_bad_new_version_leaves_the_old_one_serving(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, key = stage.healthy(register())
    update(service=service, by=stage.by, version=register("broken"))
    stage.wait_for_state(service, ServiceState.UNHEALTHY)
    assert "Revision 2 failed; the previous revision still serves." in service.state_reason
    assert score(service, key)[1]["predictions"][0] == "model 1"
    old = living_replicas(service).get()
    os.kill(pid_of(old), signal.SIGKILL)
    stage.wait(
        lambda: (
            living_replicas(service)
            .exclude(pk=old.pk)
            .filter(state=ReplicaState.READY, revision__number=1)
            .exists()
        ),
        service,
    )
    assert score(service, key)[1]["predictions"][0] == "model 1"


def test_replicas_are_added_and_taken_away(stage: ServiceStack, register: RegisterModel) -> None:
    service, _ = stage.healthy(register(), replicas=1)
    update(service=service, by=stage.by, replicas=3)
    stage.wait(lambda: living_replicas(service).filter(state=ReplicaState.READY).count() == 3)
    stage.wait_for_state(service, ServiceState.HEALTHY)
    update(service=service, by=stage.by, replicas=1)
    stage.wait(lambda: living_replicas(service).count() == 1)
    assert stage.state_of(service) == ServiceState.HEALTHY


def test_a_new_supervisor_keeps_the_replicas_that_live(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, key = stage.healthy(register())
    before = living_replicas(service).get().pk
    stage.reconciler = ServiceReconciler()
    for _ in range(3):
        stage.reconciler.tick()
    assert living_replicas(service).get().pk == before
    assert score(service, key)[0] == 200


def test_a_replaced_key_is_refused_at_once(stage: ServiceStack, register: RegisterModel) -> None:
    service, key = stage.healthy(register())
    assert score(service, key)[0] == 200
    new = regenerate_key(service=service, by=stage.by, slot=KeySlot.PRIMARY)
    assert score(service, key)[0] == 401
    assert score(service, new)[0] == 200
