"""How sizes, times and states are written on every page."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import TextChoices
from django.utils import timezone

from runs.states import ProcessState, RunStatus
from tests.factories import make_team
from workspace.models import EnvironmentState, Membership
from workspace.templatetags.ui import (
    STATES,
    duration,
    filesize,
    may,
    moment,
    relative,
    status_pill,
    teams_of,
)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "–"),  # noqa: RUF001
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.50 kB"),
        (300 * 10**6, "300 MB"),
        (12.34 * 10**9, "12.3 GB"),
        (64 * 10**9, "64.0 GB"),
        (5000 * 10**12, "5000 TB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(size: float | None, words: str) -> None:
    assert filesize(size) == words


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0.04, "0.0 s"),
        (-3, "0.0 s"),
        (9.96, "10.0 s"),
        (59, "59 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (timedelta(days=2, seconds=30), "2 d"),
        (timedelta(minutes=2, seconds=5), "2 min 5 s"),
    ],
)
def test_lengths_of_time_have_at_most_two_units(length: float | timedelta, words: str) -> None:
    assert duration(length) == words


def test_times_are_relative_with_the_exact_one_and_its_zone_in_the_title() -> None:
    shown = moment(timezone.now() - timedelta(minutes=3))
    assert ">3 min ago</time>" in shown
    assert "UTC" in shown
    assert relative(timezone.now() + timedelta(days=3, seconds=5)) == "in 3 d"
    assert relative(timezone.now()) == "just now"


@pytest.mark.parametrize("states", [RunStatus, ProcessState, EnvironmentState])
def test_every_state_has_a_look_of_its_own_among_its_kind(states: type[TextChoices]) -> None:
    looks = {state: STATES[state.lower()] for state in states}
    assert len(set(looks.values())) == len(looks), looks


def test_every_icon_of_a_state_is_drawn() -> None:
    drawn = (settings.BASE_DIR / "static" / "img" / "icons.svg").read_text()
    assert [icon for _, icon in STATES.values() if f'id="{icon}"' not in drawn] == []


def test_a_state_is_said_in_words_and_escaped() -> None:
    assert "<span>Running</span>" in status_pill("running")
    assert "<b>" not in status_pill("<b>")


def test_a_role_may_do_what_the_ones_below_it_may(bob: User) -> None:
    membership = Membership.objects.get(user=bob)
    assert may(membership, "viewer")
    assert may(membership, "member")
    assert not may(membership, "admin")
    assert not may(None, "viewer")


def test_the_team_switcher_lists_ones_own_teams(alice: User) -> None:
    make_team("other")
    assert [team.slug for team in teams_of(alice)] == ["default"]
