"""Which revisions run, and which are asked: tables of sentences."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deploy.rollout.plan import (
    ROLLBACK_WINDOW,
    RevisionView,
    plan_rollout,
    scale_weights,
    traffic_split,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)


def standing(number: int, **known: object) -> RevisionView:
    return replace(RevisionView(number, number), **known)  # type: ignore[arg-type]


def good(number: int, **known: object) -> RevisionView:
    return standing(number, **{"ready": 1, "verified_at": LONG_AGO, **known})


RUNNING = {
    "the first one starts": ([standing(1)], [1]),
    "it serves": ([good(1)], [1]),
    "a new one starts beside the one that serves": ([standing(2), good(1)], [2, 1]),
    "a new one has some of its replicas": ([standing(2, wanted=2, ready=1), good(1)], [2, 1]),
    "a new one is verified": ([good(2), good(1)], [2]),
    "one that was verified lost its replicas, others are gone": (
        [good(2, ready=0), good(1, ready=0)],
        [2],
    ),
    "one that was verified long ago comes back while another answers": (
        [good(2, ready=0), good(1)],
        [2, 1],
    ),
    "a new one failed": ([standing(2, has_failed=True), good(1)], [1]),
    "a new one failed, and what was before it is not back yet": (
        [good(2, has_failed=True), good(1, ready=0)],
        [2, 1],
    ),
    "the first one failed": ([standing(1, has_failed=True)], [1]),
    "one that gave up in part answers until the new one does": (
        [standing(2), good(1, wanted=2, has_failed=True)],
        [2, 1],
    ),
    "one that is not yet all there answers until the new one does": (
        [standing(2), standing(1, wanted=2, ready=1)],
        [2, 1],
    ),
    "the new one has taken over from one that gave up": ([good(2), good(1, has_failed=True)], [2]),
    "one that never served is passed over": ([standing(3), standing(2), good(1)], [3, 1]),
    "two share": ([good(2, weight=10), good(1, weight=90)], [2, 1]),
    "one that shares with nothing is stopped": ([good(2, weight=0), good(1, weight=100)], [1]),
    "one with nothing stays until the other is there": (
        [good(2, weight=0), good(1, weight=100, ready=0)],
        [1, 2],
    ),
    "one that serves stays where the only other one that was given a share failed": (
        [good(2, weight=0), good(1, weight=100, ready=0, has_failed=True)],
        [1, 2],
    ),
    "one of two that share failed": (
        [good(2, weight=50), good(1, weight=50, ready=0, has_failed=True)],
        [2, 1],
    ),
    "one that shares sleeps": ([good(2, weight=0), good(1, weight=100, ready=0, wanted=0)], [1]),
    "a third one starts beside two that share": (
        [standing(3), good(2, weight=10), good(1, weight=90)],
        [3, 2, 1],
    ),
    "a third one took over from two that shared": (
        [good(3), good(2, weight=10), good(1, weight=90)],
        [3],
    ),
    "a third one failed beside two that share": (
        [standing(3, has_failed=True), good(2, weight=10), good(1, weight=90)],
        [2, 1],
    ),
    "a shadow runs beside": ([good(2, is_shadow=True), good(1)], [1, 2]),
    "a shadow runs while a newer one starts": (
        [standing(3), good(2, is_shadow=True), good(1)],
        [3, 1, 2],
    ),
}


@pytest.mark.parametrize("case", RUNNING)
def test_what_runs_follows_from_how_the_revisions_stand(case: str) -> None:
    revisions, running = RUNNING[case]
    assert [one.number for one in plan_rollout(revisions, now=NOW).running] == running


def test_with_automatic_rollback_the_one_before_stays_up_for_a_while() -> None:
    young = [good(2, verified_at=NOW - ROLLBACK_WINDOW / 2), good(1)]
    old = [good(2, verified_at=NOW - 2 * ROLLBACK_WINDOW), good(1)]
    assert [one.number for one in plan_rollout(young, now=NOW, keeps_previous=True).running] == [
        2,
        1,
    ]
    assert [one.number for one in plan_rollout(old, now=NOW, keeps_previous=True).running] == [2]
    assert plan_rollout(old, now=NOW, keeps_previous=True).fallback == good(1)


SHARES = {
    "nothing is ready": ([], {}),
    "only an unproven one is ready": ([standing(1, ready=1)], {1: 100}),
    "an unproven one beside one that serves": ([standing(2, ready=1), good(1)], {1: 100}),
    "the newest of two": ([good(2), good(1)], {2: 100}),
    "a failed one beside one that may serve": ([good(2, has_failed=True), good(1)], {1: 100}),
    "a failed one alone": ([good(2, has_failed=True)], {2: 100}),
    "two that share": ([good(2, weight=10), good(1, weight=90)], {2: 10, 1: 90}),
    "one of two that share": ([good(1, weight=90)], {1: 90}),
    "one without a share, alone": ([good(2, weight=0)], {2: 100}),
    "a new one beside two that share": (
        [standing(3, ready=1), good(2, weight=10), good(1, weight=90)],
        {2: 10, 1: 90},
    ),
    "one that took over from two": ([good(3), good(2, weight=10), good(1, weight=90)], {3: 100}),
    "a shadow beside one that serves": ([good(2, is_shadow=True), good(1)], {1: 100}),
    "a shadow alone": ([good(2, is_shadow=True)], {}),
}


@pytest.mark.parametrize("case", SHARES)
def test_who_is_asked_follows_from_what_is_ready(case: str) -> None:
    ready, expected = SHARES[case]
    assert traffic_split(ready) == expected


def test_shares_keep_their_proportion_and_sum_up() -> None:
    assert scale_weights({1: 100}, 90) == {1: 90}
    assert scale_weights({1: 50, 2: 50}, 99) == {1: 50, 2: 49}
    assert scale_weights({1: 1, 2: 1, 3: 1}, 100) == {1: 34, 2: 33, 3: 33}
