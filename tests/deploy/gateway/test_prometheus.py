"""What Prometheus reads of the gateway and of services, and who else may."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.deploy.fake_replicas import answers
from tests.deploy.gateway_client import GatewayClient, MakeFront
from tests.factories import make_token
from workspace.models import Scope
from workspace.status import report_tick

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

OF_FIRST = {"team": "default", "service": "digits", "revision": "1"}


@pytest.fixture
def there(front: MakeFront) -> GatewayClient:
    return front(answers(b"{}"))


def read(there: GatewayClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = there.call(None, method="GET", path="/metrics", secret="")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def at(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_requests_latencies_and_replicas_are_told(there: GatewayClient) -> None:
    for _ in range(3):
        there.ask()
    there.ask(secret="tk_wrong")
    found = read(there)
    assert found[at("trainyard_service_requests_total", **OF_FIRST, code="200")] == 3
    assert found[at("trainyard_gateway_refused_total", code="401")] == 1
    assert found[at("trainyard_service_requests_in_flight", **OF_FIRST)] == 0
    assert found[at("trainyard_service_request_seconds_count", **OF_FIRST)] == 3
    assert found[at("trainyard_service_request_seconds_bucket", **OF_FIRST, le="+Inf")] == 3
    assert 0 < found[at("trainyard_service_request_seconds_sum", **OF_FIRST)] < 60
    assert found[at("trainyard_service_replicas_ready", team="default", service="digits")] == 1


def test_how_the_installation_is_is_told(there: GatewayClient, broker: Redis) -> None:
    report_tick(0.25)
    found = read(there)
    assert found[at("trainyard_tick_seconds")] == 0.25
    assert 0 <= found[at("trainyard_tick_lag_seconds")] < 60
    assert found[at("trainyard_jobs_waiting", queue="builds")] == 0
    assert found[at("trainyard_oldest_job_seconds", queue="builds")] == 0
    assert found[at("trainyard_disk_free_bytes")] > 0
    for process in ("web", "supervisor"):
        assert found[at("trainyard_process_descriptors", process=process)] > 0
        assert found[at("trainyard_process_threads", process=process)] > 0


def test_a_broker_that_hangs_holds_up_no_request(
    there: GatewayClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()
    was_released: list[bool] = []

    def hang(name: str) -> None:
        is_asked.set()
        was_released.append(may_answer.wait(20))
        raise RedisConnectionError

    monkeypatch.setattr("django_rq.get_queue", hang)
    with ThreadPoolExecutor() as threads:
        scrape = threads.submit(there.call, None, method="GET", path="/metrics", secret="")
        assert is_asked.wait(20)
        assert there.ask()[0] == 200
        assert there.ask(secret="tk_wrong")[0] == 401
        may_answer.set()
        assert scrape.result().status == 200
    assert was_released == [True]


def test_requests_that_come_to_no_replica_are_told(front: MakeFront) -> None:
    there = front()
    assert there.ask()[0] == 503
    of_none = OF_FIRST | {"revision": "0"}
    assert read(there)[at("trainyard_service_requests_total", **of_none, code="503")] == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "trainyard.example"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
    ],
)
def test_whoever_comes_through_a_proxy_needs_an_administrators_token(
    there: GatewayClient, alice: User, bob: User, headers: dict[str, str]
) -> None:
    def status(secret: str) -> int:
        return there.call(
            None, method="GET", path="/metrics", secret=secret, headers=headers
        ).status

    assert status("") == 401
    assert status(make_token(bob, Scope.WRITE)) == 403
    assert status(make_token(alice, Scope.ADMIN)) == 403
    alice.is_superuser = True
    alice.save()
    assert status(make_token(alice, Scope.READ)) == 200


def test_an_installation_that_others_reach_asks_for_a_token_on_its_own_machine_too(
    there: GatewayClient, settings: Settings
) -> None:
    settings.TRAINYARD_URL = "https://trainyard.example"
    assert there.call(None, method="GET", path="/metrics", secret="").status == 401


@pytest.mark.parametrize("host", ["[", "", "127.0.0.1:x"])
def test_a_host_that_is_none_is_no_trouble(there: GatewayClient, host: str) -> None:
    headers = {"Host": host}
    answer = there.call(None, method="GET", path="/metrics", secret="", headers=headers)
    assert answer.status in {200, 401}


def test_metrics_are_read_and_not_written(there: GatewayClient) -> None:
    assert there.call(b"", path="/metrics").status == 405
