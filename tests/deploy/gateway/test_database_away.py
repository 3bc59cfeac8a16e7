"""The gateway while the database does not answer: it serves what it knows, for a while."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import Settings

from deploy.gateway.recent_values import CACHE_SECONDS
from deploy.models import KeySlot
from deploy.services import regenerate_key
from tests.deploy.fake_replicas import answers
from tests.deploy.gateway_client import MakeFront
from tests.factories import make_token
from tests.waiting import wait_for
from workspace.accounts.services import revoke_token
from workspace.models import ApiToken

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
OK: tuple[int, Any] = (200, {})


@contextmanager
def refusing() -> Iterator[None]:
    """Have every connection to the database fail at once."""

    def ensure_connection(self: Any) -> None:
        raise OperationalError("connection refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseWrapper, "ensure_connection", ensure_connection)
        yield


@contextmanager
def hanging() -> Iterator[None]:
    """Have every question to the database wait."""
    is_back = threading.Event()

    def ensure_connection(self: Any) -> None:
        is_back.wait(60)
        raise OperationalError("connection timed out")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseWrapper, "ensure_connection", ensure_connection)
        try:
            yield
        finally:
            is_back.set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Turn the clock of what is known on."""
    ahead = 0.0

    class Time:
        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + ahead

    def turn(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    monkeypatch.setattr("deploy.gateway.recent_values.time", Time)
    return turn


@pytest.mark.parametrize("away", [refusing, hanging], ids=["refuses", "hangs"])
def test_services_answer_from_what_is_known_while_the_database_is_away(
    front: MakeFront,
    alice: User,
    clock: Callable[[float], None],
    away: Callable[[], AbstractContextManager[None]],
) -> None:
    there = front(answers(b"{}"))
    token = make_token(alice)
    assert there.ask() == there.ask(secret=token) == OK
    with away():
        clock(CACHE_SECONDS)
        for _ in range(20):
            assert there.ask() == there.ask(secret=token) == OK
    wait_for(lambda: there.ask() == OK, "the database to be asked again")


def test_what_is_not_known_is_answered_with_503(front: MakeFront, alice: User) -> None:
    there = front(answers(b"{}"))
    assert there.ask() == OK
    with refusing():
        for secret in ("tk_unknown", "tk_" + "x" * 40, "ty_never_seen"):
            answer = there.call(secret=secret)
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            assert b"database does not answer" in answer.body


def test_what_is_known_holds_for_a_settable_time(
    front: MakeFront, clock: Callable[[float], None], settings: Settings
) -> None:
    settings.TRAINYARD_SERVE_STALE_SECONDS = 10
    there = front(answers(b"{}"))
    assert there.ask() == OK
    with refusing():
        clock(9)
        assert there.ask() == OK
        clock(2)
        assert there.call().status == 503
    assert there.ask() == OK


def test_a_key_that_was_replaced_does_not_hold(front: MakeFront, bob: User) -> None:
    there = front(answers(b"{}"))
    assert there.ask() == OK
    regenerate_key(service=there.service, slot=KeySlot.PRIMARY, by=bob)
    with refusing():
        assert there.call().status == 503


def test_a_token_that_was_revoked_does_not_hold(front: MakeFront, alice: User) -> None:
    there = front(answers(b"{}"))
    token = make_token(alice)
    assert there.ask(secret=token) == OK
    revoke_token(token=ApiToken.objects.get(user=alice))
    assert there.call(secret=token).status == 401
    with refusing():
        assert there.call(secret=token).status in {401, 503}


def test_names_of_strangers_do_not_fill_the_memory(
    front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.recent_values.MAX_BYTES", 300_000)
    there = front(answers(b"{}"))
    before = held_bytes()
    for number in range(100):
        name = f"{number}-" + "x" * 40_000
        assert there.call(path=f"/serve/default/{name}/v1/models/m:predict").status in {401, 404}
    assert held_bytes() - before < 1_000_000
    assert there.ask() == OK


def held_bytes() -> int:
    """Count the bytes of the long texts that this process still holds."""
    gc.collect()
    return sum(
        len(value)
        for held in gc.get_objects()
        if isinstance(held, tuple)
        for value in held
        if isinstance(value, str) and "x" * 40_000 in value
    )
