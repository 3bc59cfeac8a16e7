"""How far the inputs of a service have moved from a baseline. Pure.

A baseline holds one histogram for each feature: a number, an element of a short vector, the mean
and the spread of a long one, a text or a truth value. New values are counted in the same bins, and
the two are held against each other by the population stability index (PSI).
"""

import json
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from deploy.traffic.log_policy import REDACTED
from workspace.compute.program_text import clean_text

Features = dict[str, Any]

MIN_ROWS = 100
MAX_ROWS = 20_000
MOST_FEATURES = 200
LONGEST_VECTOR = 32
BINS = 10
MOST_CATEGORIES = 20
LONGEST_CATEGORY = 60
LONGEST_NAME = 200
OTHERS = "(others)"
# Added to every bin, so that an empty one is no infinite distance.
PSEUDO_COUNT = 0.5
MOVED_THRESHOLD, DRIFTED_THRESHOLD = 0.1, 0.25


class FeatureKind(StrEnum):
    NUMBER = "number"
    CATEGORY = "category"


class DriftLevel(StrEnum):
    STEADY = "steady"
    MOVED = "moved"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class FeatureHistogram:
    """Counts of a feature. Numbers have one bin more than `edges`, and one for what is none."""

    kind: FeatureKind
    edges: tuple[Any, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def labels(self) -> list[str]:
        if self.kind is FeatureKind.CATEGORY:
            return [*self.edges, OTHERS]
        ends = [f"{edge:.4g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(ends)]
        outer = [f"below {ends[0]}", *between, f"from {ends[-1]}"] if ends else ["any number"]
        return [*outer, "no number"]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind.value, "edges": list(self.edges), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "FeatureHistogram":
        return cls(FeatureKind(stored["kind"]), tuple(stored["edges"]), tuple(stored["counts"]))

    def counted(self, values: Iterable[Any]) -> "FeatureHistogram":
        """Count other values in the same bins."""
        counts = [0] * len(self.counts)
        for value in values:
            counts[self._bin_of(value)] += 1
        return FeatureHistogram(self.kind, self.edges, tuple(counts))

    def _bin_of(self, value: object) -> int:
        if self.kind is FeatureKind.CATEGORY:
            name = _category(value)
            return self.edges.index(name) if name in self.edges else len(self.edges)
        number = _number(value)
        return len(self.edges) + 1 if number is None else bisect_right(self.edges, number)


@dataclass(frozen=True)
class Comparison:
    """One feature then and now. `expected_by_chance` is the most that chance usually gives."""

    name: str
    then: FeatureHistogram
    now: FeatureHistogram
    psi: float
    expected_by_chance: float
    verdict: DriftLevel


def rows_in(body: object) -> list[Features]:
    """Return the features of each instance in a request's body, a list of instances, or neither."""
    if isinstance(body, Mapping):
        if isinstance(body.get("instances"), list):
            body = body["instances"]
        elif "inputs" in body:
            return [_features(row) for row in _rows_of_columns(body["inputs"])]
        else:
            return []
    found = [_features(row) for row in body] if isinstance(body, list) else []
    return [features for features in found if features]


def baseline_of(rows: Sequence[Features]) -> dict[str, FeatureHistogram]:
    """Make the histograms of some rows."""
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return {
        name: _histogram([row[name] for row in rows if name in row])
        for name in list(names)[:MOST_FEATURES]
    }


def compare(baseline: Mapping[str, FeatureHistogram], rows: Sequence[Features]) -> list[Comparison]:
    """Hold rows against a baseline, the feature that moved furthest first."""
    found = []
    for name, then in baseline.items():
        now = then.counted(row[name] for row in rows if name in row)
        if not now.total:
            continue
        psi, expected_by_chance = population_stability_index(then.counts, now.counts)
        excess = psi - expected_by_chance
        verdict = (
            DriftLevel.DRIFTED
            if excess > DRIFTED_THRESHOLD
            else DriftLevel.MOVED
            if excess > MOVED_THRESHOLD
            else DriftLevel.STEADY
        )
        found.append(Comparison(name, then, now, psi, expected_by_chance, verdict))
    return sorted(found, key=lambda one: one.expected_by_chance - one.psi)


def population_stability_index(then: Sequence[int], now: Sequence[int]) -> tuple[float, float]:
    """Return the PSI of two lists of counts, and what chance alone would hardly ever exceed.

    Without a change the PSI follows a chi-squared distribution, scaled by the sizes of the samples;
    what is given is its mean and two standard deviations.
    """
    pairs = [(a, b) for a, b in zip(then, now, strict=True) if a or b]
    bins = len(pairs)
    if not bins:
        return 0.0, 0.0
    before = sum(then) + PSEUDO_COUNT * bins
    after = sum(now) + PSEUDO_COUNT * bins
    psi = 0.0
    for a, b in pairs:
        p, q = (a + PSEUDO_COUNT) / before, (b + PSEUDO_COUNT) / after
        psi += (q - p) * math.log(q / p)
    freedom = bins - 1
    return psi, (freedom + 2 * math.sqrt(2 * freedom)) * (1 / before + 1 / after)


def _rows_of_columns(inputs: object) -> Iterator[Any]:
    if not isinstance(inputs, Mapping):
        yield from inputs if isinstance(inputs, list) else [inputs]
        return
    columns = {name: value for name, value in inputs.items() if isinstance(value, list)}
    length = max(map(len, columns.values()), default=0)
    for place in range(length):
        yield {name: column[place] for name, column in columns.items() if place < len(column)}


def _features(row: object) -> Features:
    """Return what is counted of an instance: values by name; a lone input has the name "input"."""
    if not isinstance(row, Mapping) or set(row) == {"b64"}:
        row = {"input": row}
    found: Features = {}
    for name, value in row.items():
        found |= _features_of(clean_text(str(name), LONGEST_NAME), value)
    return found


def _features_of(name: str, value: object) -> Features:
    if value == REDACTED:
        return {}
    if not isinstance(value, list):
        return {name: value}
    flat = list(_flat(value))
    if len(flat) == 1:
        return {name: flat[0]}
    if len(flat) <= LONGEST_VECTOR:
        return {f"{name}[{place}]": one for place, one in enumerate(flat)}
    numbers = [number for number in map(_number, flat) if number is not None]
    if not numbers:
        return {}
    try:
        mean = math.fsum(numbers) / len(numbers)
        spread = math.sqrt(math.fsum((one - mean) ** 2 for one in numbers) / len(numbers))
    except OverflowError:  # of numbers near the largest that there are
        return {}
    return {f"{name} (mean)": mean, f"{name} (spread)": spread}


def _flat(value: list[Any]) -> Iterator[Any]:
    stack = [iter(value)]
    while stack:
        for one in stack[-1]:
            if isinstance(one, list):
                stack.append(iter(one))
                break
            yield one
        else:
            stack.pop()


def _histogram(values: Sequence[Any]) -> FeatureHistogram:
    numbers = [number for number in map(_number, values) if number is not None]
    if 2 * len(numbers) < len(values):
        named = Counter(map(_category, values)).most_common(MOST_CATEGORIES)
        empty = FeatureHistogram(
            FeatureKind.CATEGORY, tuple(name for name, _ in named), (0,) * (len(named) + 1)
        )
    else:
        edges = _edges(sorted(numbers))
        empty = FeatureHistogram(FeatureKind.NUMBER, edges, (0,) * (len(edges) + 2))
    return empty.counted(values)


def _edges(ordered: Sequence[float]) -> tuple[float, ...]:
    """Return edges between bins of about the same count; few different values get a bin each."""
    different = sorted(set(ordered))
    if len(different) <= BINS:
        between = pairwise(different)
        return tuple(low / 2 + high / 2 for low, high in between)
    places = (len(ordered) * part // BINS for part in range(1, BINS))
    return tuple(sorted({ordered[place] for place in places}))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _category(value: object) -> str:
    if isinstance(value, str):
        return clean_text(value[:LONGEST_CATEGORY], LONGEST_CATEGORY)
    return json.dumps(value, default=str)[:LONGEST_CATEGORY]
