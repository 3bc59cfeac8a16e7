"""The revision of a request: by weight, and the same for the same caller."""

import random
from collections import Counter
from typing import NamedTuple

import pytest

from deploy.gateway.traffic_split import pick_revision


class Choice(NamedTuple):
    pk: int
    weight: int


CALLERS = [b"caller-%d" % number for number in range(4000)]


def chosen(*choices: Choice) -> dict[bytes, int]:
    return {caller: pick_revision(choices, caller).pk for caller in CALLERS}


@pytest.mark.parametrize("weight", [1, 10, 50, 90])
def test_callers_are_spread_by_weight(weight: int) -> None:
    counts = Counter(chosen(Choice(1, 100 - weight), Choice(2, weight)).values())
    assert counts[2] / len(CALLERS) == pytest.approx(weight / 100, abs=0.03)


def test_chance_goes_by_weight() -> None:
    random.seed(7)
    choices = (Choice(1, 75), Choice(2, 25))
    counts = Counter(pick_revision(choices).pk for _ in range(4000))
    assert counts[2] / 4000 == pytest.approx(0.25, abs=0.03)


def test_only_those_callers_move_that_have_to() -> None:
    before = chosen(Choice(1, 90), Choice(2, 10))
    after = chosen(Choice(1, 80), Choice(2, 20))
    moved = [
        (before[caller], after[caller]) for caller in CALLERS if before[caller] != after[caller]
    ]
    assert set(moved) == {(1, 2)}
    assert len(moved) / len(CALLERS) == pytest.approx(0.1, abs=0.03)


def test_a_third_choice_takes_callers_from_the_others_and_swaps_none() -> None:
    before = chosen(Choice(1, 50), Choice(2, 50))
    after = chosen(Choice(1, 40), Choice(2, 40), Choice(3, 20))
    assert {after[caller] for caller in CALLERS if before[caller] != after[caller]} == {3}


def test_one_choice_is_everybodys() -> None:
    assert pick_revision([Choice(7, 1)], b"caller").pk == pick_revision([Choice(7, 1)]).pk == 7
