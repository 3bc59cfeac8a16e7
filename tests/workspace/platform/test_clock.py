"""Ages and due times go on as time does, wherever the wall clock is put."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from workspace.platform import clock
from workspace.platform.clock import age_of, clock_settings, has_come

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


def start_again() -> None:
    """Forget what a process that ends forgets."""
    clock._moments.clear()
    clock.forget_settings()


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    start_again()
    yield
    start_again()


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


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["ahead", "back"])
@pytest.mark.parametrize("is_seen", [True, False], ids=["seen at once", "seen later"])
@pytest.mark.parametrize("is_killed", [True, False], ids=["by another process", "by the same"])
def test_what_was_stored_before_a_step_is_as_old_when_it_is_first_asked_about_after_it(
    set_clock: SetClock, step: timedelta, is_seen: bool, is_killed: bool
) -> None:
    clock_settings()
    at = timezone.now() - MOMENT
    set_clock(step)
    if is_seen:
        clock_settings()
    if is_killed:
        start_again()
    assert MOMENT <= age_of(at) < 2 * MOMENT


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["ahead", "back"])
def test_what_is_stored_after_a_step_is_new(set_clock: SetClock, step: timedelta) -> None:
    clock_settings()
    set_clock(step)
    at = timezone.now()
    start_again()
    assert age_of(at) < MOMENT


def test_after_many_steps_each_time_is_as_old_as_it_is(set_clock: SetClock) -> None:
    clock_settings()
    stored = []
    for hours in (3, -2, 1, 0):
        set_clock(hours * HOUR)
        clock_settings()
        stored.append(timezone.now())
    start_again()
    assert all(age_of(at) < MOMENT for at in stored)


def test_what_is_due_soon_comes_soon_though_the_clock_was_set_ahead(
    set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_settings()
    due: datetime = timezone.now() + timedelta(seconds=40)
    set_clock(HOUR)
    assert not has_come(due, at_most=2 * MOMENT)
    go_on(monkeypatch, seconds=61)
    assert has_come(due, at_most=2 * MOMENT)


@pytest.mark.parametrize("kept", ["", "{", '{"boot": "another", "settings": [[0, 0]]}', "[]"])
def test_a_file_that_tells_nothing_of_this_boot_is_made_anew(home: Path, kept: str) -> None:
    (home / clock.SETTINGS_FILE).write_text(kept)
    assert MOMENT <= age_of(timezone.now() - MOMENT) < 2 * MOMENT
    start_again()
    assert len(clock_settings()) == 1
