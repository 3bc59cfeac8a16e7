"""Rollouts on the local target: tried by a smoke test, under load, and back again."""

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from deploy.models import Replica, ReplicaState, Revision, Service, ServiceState, Traffic
from deploy.rollout.traffic_policy import roll_back, set_options, set_shadow, split_traffic, update
from deploy.selectors import current_revision, living_replicas, scoring_uri
from deploy.service_options import AutoscaleOptions, RollbackRule
from deploy.supervision.reconciler import ServiceReconciler
from deploy.traffic.latency_histogram import bucket_of, empty_buckets
from tests.deploy.conftest import RegisterModel, ServiceStack
from tests.deploy.supervision.test_services import call, pid_of, score
from workspace.models import AuditEntry

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@dataclass
class Callers:
    """Clients that score without pause; what each was answered, in order."""

    answers: list[tuple[int, str]] = field(default_factory=list)
    waiting: dict[int, datetime] = field(default_factory=dict)

    def waiting_since(self, before: datetime) -> int:
        """Count those who wait for an answer since before a moment."""
        return sum(began < before for began in list(self.waiting.values()))

    @property
    def statuses(self) -> set[int]:
        return {status for status, _ in self.answers}

    def said(self, model: str, since: int = 0) -> bool:
        return any(answer == model for _, answer in self.answers[since:])


@contextmanager
def callers(service: Service, key: str, count: int = 4) -> Iterator[Callers]:
    heard = Callers()
    is_over = threading.Event()
    place = urlsplit(scoring_uri(service))

    def call_on() -> None:
        with closing(http.client.HTTPConnection(place.netloc, timeout=60)) as connection:
            while not is_over.is_set():
                heard.waiting[threading.get_ident()] = timezone.now()
                connection.request("POST", place.path, b"{}", {"Authorization": f"Bearer {key}"})
                answer = connection.getresponse()
                said = json.loads(answer.read())
                models = said.get("predictions", [str(said)])
                heard.answers.append((answer.status, models[0]))
                del heard.waiting[threading.get_ident()]

    with ThreadPoolExecutor(count) as pool:
        calls = [pool.submit(call_on) for _ in range(count)]
        try:
            yield heard
        finally:
            is_over.set()
        for one in calls:
            one.result()


def model_of(service: Service, key: str) -> str:
    return str(score(service, key)[1]["predictions"][0])


def failure_of(stage: ServiceStack, service: Service, number: int) -> str:
    """Wait until a revision has failed, and say why."""

    def revision() -> Revision:
        return service.revisions.get(number=number)

    stage.wait(lambda: bool(revision().failure), service)
    return revision().failure


# The smoke test


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("errs", "failed its smoke test: it answered 500: "),
        ("dies_when_asked", "crashed during its smoke test: it ended with exit code 13"),
    ],
)
def test_a_version_that_fails_its_smoke_test_takes_no_traffic(
    stage: ServiceStack,
    register: RegisterModel,
    behaviour: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deploy.supervision.replicas.END_SEEN_WITHIN_SECONDS", 60.0)
    service, key = stage.healthy(register())
    update(service=service, by=stage.by, version=register(behaviour))
    with callers(service, key, 2) as heard:
        assert words in failure_of(stage, service, 2)
        stage.wait_for_state(service, ServiceState.UNHEALTHY)
    assert set(heard.answers) == {(200, "model 1")}
    assert "Revision 2 failed; the previous revision still serves." in service.state_reason
    assert words in service.state_reason
    assert not Replica.objects.exclude(revision__number=1).exclude(ready_at=None).exists()


def test_a_version_that_refuses_a_made_up_request_serves_with_a_notice(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, _ = stage.healthy(register("refuses"))
    assert "rejected the smoke test generated from its signature (400" in (
        current_revision(service).notice
    )


def test_a_version_that_refuses_the_recorded_request_takes_no_traffic(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, key = stage.healthy(register())
    smoke_test = {"smoke_test_request": {"instances": [[1.0]]}}
    set_options(service=service, by=stage.by, options=smoke_test)
    update(service=service, by=stage.by, version=register("refuses"))
    assert "it rejected the recorded request with 400" in failure_of(stage, service, 2)
    assert model_of(service, key) == "model 1"


# Under load


def test_no_request_fails_through_a_rollout_and_a_rollback_under_load(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, key = stage.healthy(register(), replicas=2)
    with callers(service, key) as heard:
        update(service=service, by=stage.by, version=register("slow=0.5"))
        stage.wait(lambda: heard.said("model 2") and _serves_only(service, 2), service)
        after_rollout = len(heard.answers)
        made = roll_back(service=service, by=stage.by)
        assert (made.number, str(made.model_version)) == (3, "digits:1")
        stage.wait(
            lambda: heard.said("model 1", after_rollout) and _serves_only(service, 3), service
        )
    assert heard.statuses == {200}
    assert {answer for _, answer in heard.answers} == {"model 1", "model 2"}
    assert len(heard.answers) > 100
    assert AuditEntry.objects.filter(action="service.roll_back").exists()


def _serves_only(service: Service, number: int) -> bool:
    living = living_replicas(service)
    states = {(one.revision.number, one.state) for one in living}
    return states == {(number, ReplicaState.READY)} and living.count() == 2


def test_the_requests_of_a_server_that_hangs_go_elsewhere(
    stage: ServiceStack, register: RegisterModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.supervision.replicas.ASK_EVERY", 0.2)
    monkeypatch.setattr("deploy.supervision.health_checks.TIMEOUT_SECONDS", 0.5)
    service, key = stage.healthy(register(), replicas=2)
    victim = living_replicas(service).order_by("number").first()
    assert victim is not None
    with callers(service, key) as heard:
        stage.wait(lambda: len(heard.answers) > 20)
        os.kill(pid_of(victim), signal.SIGSTOP)
        hanging = Replica.objects.filter(pk=victim.pk, state=ReplicaState.UNHEALTHY)
        stage.wait(hanging.exists)
        stage.wait_for_state(service, ServiceState.UNHEALTHY)
        noticed_at = timezone.now()
        # Whoever waits for the one that hangs is answered by the other before it is continued.
        stage.wait(lambda: heard.waiting_since(noticed_at) == 0)
    assert heard.statuses == {200}


def test_a_hang_is_noticed_within_ten_seconds_by_the_times_of_its_checks() -> None:
    from deploy.management.commands.supervisor import TICK_SECONDS
    from deploy.supervision import health_checks, replicas

    # Each silence wakes the supervisor, so that it asks again at once.
    before = replicas.ASK_EVERY + TICK_SECONDS
    silent = max(replicas.ASK_EVERY, health_checks.TIMEOUT_SECONDS) * replicas.FAILURE_THRESHOLD
    assert before + silent <= 9


# Beside each other


def test_a_share_of_the_requests_goes_to_a_new_version_until_it_takes_all(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, key = stage.healthy(register())
    update(service=service, by=stage.by, version=register(), weight=20)
    assert [one.weight for one in service.revisions.order_by("number")] == [80, 20]
    stage.wait(lambda: model_of(service, key) == "model 2", service)
    stage.wait_for_state(service, ServiceState.HEALTHY)
    assert {model_of(service, key) for _ in range(60)} == {"model 1", "model 2"}
    with callers(service, key, 2) as heard:
        split_traffic(service=service, by=stage.by, weights={2: 100})
        stage.wait(lambda: living_replicas(service).count() == 1, service)
        moved = len(heard.answers)
        stage.wait(lambda: len(heard.answers) > moved + 50)
    assert heard.statuses == {200}
    assert {answer for _, answer in heard.answers[moved + 8 :]} == {"model 2"}
    with callers(service, key, 2) as heard:
        split_traffic(service=service, by=stage.by, weights={1: 100})
        stage.wait(lambda: heard.said("model 1"), service)
    assert heard.statuses == {200}


def test_a_shadow_is_asked_what_was_answered_and_answers_nobody(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, key = stage.healthy(register())
    update(service=service, by=stage.by, version=register(), is_shadow=True)
    shadow = service.revisions.get(number=2)
    stage.wait(
        lambda: living_replicas(service).filter(revision=shadow, state="ready").exists(), service
    )
    assert current_revision(service).number == 1
    asked: list[str] = []

    def has_differed() -> bool:
        asked.append(model_of(service, key))
        rows = Traffic.objects.filter(revision=shadow)
        return sum(row.mismatches for row in rows) > 0

    stage.wait(has_differed, service)
    assert set(asked) == {"model 1"}
    assert sum(row.errors for row in Traffic.objects.filter(revision=shadow)) == 0
    set_shadow(service=service, by=stage.by, number=None)
    stage.wait(lambda: living_replicas(service).count() == 1, service)
    assert model_of(service, key) == "model 1"


# By what passes


def note_traffic(revision: Revision, **seen: object) -> None:
    at = timezone.now()
    latencies = empty_buckets()
    latencies[bucket_of(0.25)] = 100
    known = {"requests": 100, "latencies": latencies, **seen}
    Traffic.objects.create(revision=revision, at=at, source="test", **known)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (RollbackRule(error_rate=0.05), "30 of 100 requests in the last minute ended in an error"),
        (RollbackRule(p95_ms=100.0), "took 295 ms or more, and 100 ms is allowed"),
    ],
)
def test_a_version_that_does_worse_than_allowed_is_taken_back(
    stage: ServiceStack, register: RegisterModel, rule: RollbackRule, words: str
) -> None:
    service, key = stage.healthy(register())
    options = {"rollback": {**vars(rule)}}
    set_options(service=service, by=stage.by, options=options)
    update(service=service, by=stage.by, version=register())
    stage.wait(lambda: model_of(service, key) == "model 2", service)
    with callers(service, key, 2) as heard:
        note_traffic(service.revisions.get(number=2), errors=30)
        stage.wait(lambda: heard.said("model 1"), service)
    assert heard.statuses == {200}
    stage.wait_for_state(service, ServiceState.UNHEALTHY)
    assert words in service.state_reason
    entry = AuditEntry.objects.get(action="service.roll_back")
    assert entry.actor is None
    assert words in entry.data["reason"]


def test_replicas_follow_the_requests_in_flight(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, _ = stage.healthy(register())
    set_options(
        service=service,
        by=stage.by,
        options={"autoscale": vars(AutoscaleOptions(cool_down_seconds=60, max_replicas=3))},
    )
    note_traffic(service.revisions.get(), in_flight=1.5)
    stage.wait(lambda: living_replicas(service).filter(state="ready").count() == 3, service)
    Traffic.objects.update(at=timezone.now() - timedelta(seconds=61))
    Revision.objects.update(verified_at=timezone.now() - timedelta(seconds=61))
    stage.wait(lambda: living_replicas(service).count() == 1, service)


def test_a_service_that_nobody_asks_sleeps_and_its_first_request_waits_for_it(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, key = stage.healthy(register("slow=0.5"))
    set_options(
        service=service, by=stage.by, options={"autoscale": vars(AutoscaleOptions(idle_seconds=30))}
    )
    long_ago = timezone.now() - timedelta(minutes=5)
    Service.objects.update(created_at=long_ago)
    Revision.objects.update(verified_at=long_ago)
    stage.wait(lambda: not living_replicas(service).exists(), service)
    assert stage.state_of(service) == ServiceState.HEALTHY
    assert "The next request starts a replica" in service.state_reason
    place = scoring_uri(service)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(call, "POST", place, b"{}", key) for _ in range(3)]
        stage.wait(lambda: all(one.done() for one in calls), service)
    assert [one.result()[1]["predictions"][0] for one in calls] == ["model 1"] * 3
    assert stage.state_of(service) == ServiceState.HEALTHY


def test_a_new_supervisor_finishes_a_rollout(stage: ServiceStack, register: RegisterModel) -> None:
    service, key = stage.healthy(register())
    update(service=service, by=stage.by, version=register("slow=0.5"))
    stage.wait(lambda: living_replicas(service).filter(revision__number=2).exists(), service)
    stage.reconciler = ServiceReconciler()
    stage.wait(lambda: model_of(service, key) == "model 2", service)
