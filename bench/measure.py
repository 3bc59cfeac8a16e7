"""Figures: how they are taken, and how one is held against a floor or a peer and against a goal."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class RowSkipped(Exception):
    """Says what a row lacks on this machine."""


@dataclass(frozen=True)
class Line:
    """One figure beside another one of the same run.

    The goal is for the figure, or for its ratio to the other. It is a most unless `is_least`.
    """

    name: str
    ours: float
    unit: str
    goal: float
    other_name: str = ""
    other: float | None = None
    of_ratio: bool = False
    is_least: bool = False

    @property
    def ratio(self) -> float | None:
        return self.ours / self.other if self.other else None

    @property
    def is_met(self) -> bool:
        held = self.ratio if self.of_ratio else self.ours
        if held is None:
            return False
        return held >= self.goal if self.is_least else held <= self.goal

    def __str__(self) -> str:
        sign = "≥" if self.is_least else "≤"
        wanted = f"{self.goal:g}x" if self.of_ratio else f"{_short(self.goal)} {self.unit}"
        beside = f"{self.other_name} {_short(self.other)}" if self.other is not None else ""
        ratio = f"{_short(self.ratio)}x" if self.ratio is not None else ""
        return (
            f"{self.name:<46} {_short(self.ours):>9} {self.unit:<7} {beside:<32} {ratio:>8}"
            f"  {sign} {wanted:<14} {'ok' if self.is_met else 'MISSED'}"
        )


def median_of(measure: Callable[[], float], times: int) -> float:
    return statistics.median(measure() for _ in range(times))


def alternate(
    ours: Callable[[], float], theirs: Callable[[], float], times: int
) -> tuple[float, float]:
    """Measure two things in turn, so that both meet the same weather; give both medians."""
    pairs = [(ours(), theirs()) for _ in range(times)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _short(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
