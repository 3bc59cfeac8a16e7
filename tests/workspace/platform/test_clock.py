"""Ages and due times go on as time does, wherever the wall clock is put."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from workspace.platform.clock import age_of, has_come

HOUR = timedelta(hours=1)
MOMENT = timedelta(seconds=30)
SetClock = Callable[[timedelta], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Put the wall clock ahead, or back, of what it would show."""
    real = timezone.now

    def put(by: timedelta) -> None:
        monkeypatch.setattr(timezone, "now", lambda: real() + by)

    return put


def go_on(monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
    later = time.monotonic() + seconds
    monkeypatch.setattr("workspace.platform.clock.time.monotonic", lambda: later)


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_step_of_the_clock_makes_nothing_older_or_younger(
    set_clock: SetClock, step: timedelta
) -> None:
    at = timezone.now() - 5 * MOMENT
    assert 5 * MOMENT <= age_of(at) < 6 * MOMENT
    set_clock(step)
    assert 5 * MOMENT <= age_of(at) < 6 * MOMENT


def test_a_time_that_a_clock_ahead_left_counts_as_now_and_ages_from_now_on(
    set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = timezone.now() + HOUR
    assert age_of(left) < MOMENT
    go_on(monkeypatch, seconds=60)
    assert timedelta(seconds=60) <= age_of(left) < timedelta(seconds=60) + MOMENT


def test_what_is_due_soon_comes_soon_though_the_clock_was_set_back(
    set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    due: datetime = timezone.now() + timedelta(seconds=40)
    set_clock(-HOUR)
    assert not has_come(due, at_most=2 * MOMENT)
    go_on(monkeypatch, seconds=61)
    assert has_come(due, at_most=2 * MOMENT)


def test_what_was_due_has_come() -> None:
    assert has_come(timezone.now() - MOMENT, at_most=HOUR)
