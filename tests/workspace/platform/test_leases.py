"""One process at a time has a duty, and one that has lost it changes nothing more."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from tests.factories import make_team
from tests.waiting import wait_for
from workspace.models import Team
from workspace.platform import leases
from workspace.platform.leases import Lease, LeaseLost, confirm, fenced, release, take

DUTY = "watch"
HOUR = timedelta(hours=1)


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_DURATION", timedelta(seconds=0.3))


def take_over(holder: str) -> leases.Fence:
    """Take a duty whose holder has not renewed it in time."""
    Lease.objects.filter(name=DUTY).update(expires_at=F("expires_at") - HOUR)
    fence = take(DUTY, holder)
    assert fence
    return fence


@pytest.mark.django_db
def test_one_holder_at_a_time_has_a_duty() -> None:
    first = take(DUTY, "first")
    assert first
    assert take(DUTY, "second") is None
    assert take(DUTY, "first") == first, "it is renewed"
    release(DUTY, "first")
    second = take(DUTY, "second")
    assert second
    assert second.number > first.number
    assert take(DUTY, "first") is None


@pytest.mark.django_db
def test_a_duty_that_is_not_renewed_goes_to_another(briefly: None) -> None:
    assert take(DUTY, "dead")
    wait_for(lambda: take(DUTY, "heir"), "the lease to expire")


@pytest.mark.django_db
def test_no_clock_of_those_who_ask_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert take(DUTY, "first")
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + HOUR)
    assert take(DUTY, "second") is None
    monkeypatch.setattr(timezone, "now", lambda: real() - HOUR)
    release(DUTY, "first")
    assert take(DUTY, "second")


@pytest.mark.django_db
def test_a_lease_of_a_clock_that_ran_ahead_lasts_no_longer_than_any_other(briefly: None) -> None:
    assert take(DUTY, "dead")
    Lease.objects.update(expires_at=timezone.now() + HOUR)
    wait_for(lambda: take(DUTY, "heir"), "the lease to expire")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_in_transaction", [False, True], ids=["alone", "in a transaction"])
@pytest.mark.parametrize("kind", ["insert", "many inserts", "update", "delete"])
def test_no_write_of_one_that_lost_its_duty_is_stored(kind: str, is_in_transaction: bool) -> None:
    kept = make_team("kept")
    writes: dict[str, Callable[[], object]] = {
        "insert": lambda: make_team("new"),
        "many inserts": lambda: Team.objects.bulk_create([Team(slug="a"), Team(slug="b")]),
        "update": lambda: Team.objects.update(name="Changed"),
        "delete": lambda: Team.objects.all().delete(),
    }
    write = writes[kind]
    fence = take(DUTY, "first")
    assert fence
    take_over("second")
    scope = transaction.atomic() if is_in_transaction else nullcontext()
    with pytest.raises(LeaseLost), fenced(fence), scope:
        write()
    assert [(team.slug, team.name) for team in Team.objects.all()] == [("kept", kept.name)]


@pytest.mark.django_db
def test_reading_goes_on_and_writes_outside_the_duty_too() -> None:
    fence = take(DUTY, "first")
    assert fence
    take_over("second")
    with fenced(fence):
        assert not Team.objects.exists()
    make_team("outside")
    confirm()


@pytest.mark.django_db
def test_doing_the_duty_renews_it(briefly: None) -> None:
    fence = take(DUTY, "first")
    assert fence
    Lease.objects.update(expires_at=F("expires_at") - HOUR)
    with fenced(fence):
        confirm()
    assert take(DUTY, "second") is None


@pytest.mark.django_db
def test_one_that_lost_its_duty_is_told_before_it_acts() -> None:
    fence = take(DUTY, "first")
    assert fence
    take_over("second")
    with fenced(fence), pytest.raises(LeaseLost):
        confirm()


@pytest.mark.django_db(transaction=True)
def test_what_is_written_outside_a_transaction_is_stored_at_once() -> None:
    fence = take(DUTY, "first")
    assert fence
    make_team("kept")
    with fenced(fence):
        Team.objects.update(name="Stored")
        make_team("new")
        assert not connection.in_atomic_block
    assert {team.name for team in Team.objects.all()} == {"Stored", "New"}
