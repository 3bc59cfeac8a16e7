"""How often a key may be used, and what is known of its uses."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User

from deploy.models import KeySlot, ServiceKey
from deploy.traffic.rate_limits import KeyUsage
from tests.deploy.fake_replicas import answers
from tests.deploy.gateway_client import SCORE, GatewayClient, MakeFront
from tests.factories import make_token
from tests.waiting import wait_for
from workspace.models import AuditEntry, Scope

pytestmark = pytest.mark.slow

KEY = 7


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("deploy.traffic.rate_limits.time", clock)
    return clock


def test_no_stretch_of_a_minute_holds_more_calls_than_allowed(clock: Clock) -> None:
    uses = KeyUsage()
    taken: list[float] = []
    for _ in range(3000):
        clock.now += 0.1
        if not uses.retry_after(KEY, 50):
            taken.append(clock.now)
    most = max(sum(at <= other < at + 60 for other in taken) for at in taken)
    assert most == 50
    assert len(taken) == 250


def test_the_wait_that_is_told_is_long_enough_and_no_longer(clock: Clock) -> None:
    uses = KeyUsage()
    assert uses.retry_after(KEY, 1) == 0
    clock.now += 20.5
    wait = uses.retry_after(KEY, 1)
    assert wait == 40
    clock.now += wait - 1
    assert uses.retry_after(KEY, 1) == 1
    clock.now += 1
    assert uses.retry_after(KEY, 1) == 0


def test_a_limit_that_is_lowered_holds_from_the_next_call_on(clock: Clock) -> None:
    uses = KeyUsage()
    assert [uses.retry_after(KEY, 10) for _ in range(10)] == [0] * 10
    clock.now += 30
    assert uses.retry_after(KEY, 5) == 30
    clock.now += 30
    assert uses.retry_after(KEY, 5) == 0


def test_keys_do_not_share_their_calls(clock: Clock) -> None:
    uses = KeyUsage()
    assert uses.retry_after(1, 1) == uses.retry_after(2, 1) == 0
    assert uses.retry_after(1, 1) > 0
    assert uses.take_unwritten() == {1: 1, 2: 1}


# Over the gateway


def limit(there: GatewayClient, user: User, body: Any, slot: str = "primary") -> tuple[int, Any]:
    return there.ask(
        json.dumps(body).encode(),
        method="PATCH",
        path=SCORE.replace("/score", f"/keys/{slot}"),
        secret=make_token(user, Scope.WRITE),
        headers={"Content-Type": "application/json"},
    )


@pytest.mark.django_db(transaction=True)
def test_a_key_over_its_limit_is_told_when_to_come_again(front: MakeFront, bob: User) -> None:
    there = front(answers(b"{}"))
    assert limit(there, bob, {"calls_per_minute": 5})[0] == 200
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda _: there.ask()[0], range(12)))
    assert sorted(statuses) == [200] * 5 + [429] * 7
    answer = there.call()
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "5 times a minute" in json.loads(answer.body)["error"]
    assert len(there.fakes[0].requests) == 5
    assert there.ask(secret=make_token(bob, Scope.WRITE))[0] == 200
    assert limit(there, bob, {"calls_per_minute": None})[0] == 200
    assert there.ask()[0] == 200
    entries = AuditEntry.objects.filter(action="service.limit_key").order_by("pk")
    assert [entry.data["calls_per_minute"] for entry in entries] == [5, None]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"calls_per_minute": 0}, "calls_per_minute"),
        ({"calls_per_minute": "5"}, "calls_per_minute"),
        ({}, "calls_per_minute"),
        ({"calls": 1}, "calls"),
    ],
)
def test_a_wrong_limit_is_refused_by_field(
    front: MakeFront, bob: User, body: Any, field: str
) -> None:
    status, answer = limit(front(), bob, body)
    assert status == 400
    assert field in [error["field"] for error in answer["errors"]]


@pytest.mark.django_db(transaction=True)
def test_a_slot_that_is_not_there_is_not_found(front: MakeFront, bob: User) -> None:
    assert limit(front(), bob, {"calls_per_minute": 5}, slot="third")[0] == 404


@pytest.mark.django_db(transaction=True)
def test_uses_of_keys_are_counted(
    front: MakeFront, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.traffic.counters.INTERVAL_SECONDS", 0.5)
    there = front(answers(b"{}"))
    for _ in range(7):
        there.ask()
    there.ask(secret=make_token(bob, Scope.WRITE))

    def primary() -> ServiceKey:
        return ServiceKey.objects.get(slot=KeySlot.PRIMARY)

    wait_for(lambda: primary().use_count == 7, "seven uses")
    assert primary().last_used_at is not None
    secondary = ServiceKey.objects.get(slot=KeySlot.SECONDARY)
    assert (secondary.use_count, secondary.last_used_at) == (0, None)
