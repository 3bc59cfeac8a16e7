"""A model's answer as people read it: a table of outputs, bars for probabilities of classes."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_ROWS = 20
MOST_BARS = 10
MOST_CLASSES = 10_000
FEWEST_CLASSES = 2
SUM_TOLERANCE = 0.01
LONGEST_VALUE = 160
LARGEST_SHOWN = 100_000


@dataclass(frozen=True)
class ClassProbability:
    label: str
    share: float

    @property
    def percent(self) -> float:
        return 100 * self.share


@dataclass(frozen=True)
class OutputValue:
    """One output of one row: bars where it holds probabilities, and else a text."""

    name: str
    text: str
    bars: tuple[ClassProbability, ...] = ()
    classes: int = 0


@dataclass(frozen=True)
class PredictionView:
    """What is shown of an answer; `rows` is empty where it is no prediction."""

    raw: str
    rows: tuple[tuple[OutputValue, ...], ...] = ()
    omitted: int = 0


def parse_prediction(body: bytes) -> PredictionView:
    """Read the body that a model server sent, whatever it is."""
    try:
        content = json.loads(body)
        raw = json.dumps(content, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return PredictionView(_cut(body.decode("utf-8", "replace")))
    rows = _rows_of(content)
    shown = tuple(_values_of(row) for row in rows[:MAX_ROWS])
    return PredictionView(_cut(raw), shown, max(len(rows) - MAX_ROWS, 0))


def _cut(text: str) -> str:
    if len(text) <= LARGEST_SHOWN:
        return text
    return f"{text[:LARGEST_SHOWN]}\n… {len(text) - LARGEST_SHOWN:,} more characters"


def _rows_of(content: object) -> list[Any]:
    if not isinstance(content, dict):
        return []
    if isinstance(content.get("predictions"), list):
        return list(content["predictions"])
    return [content["outputs"]] if "outputs" in content else []


def _values_of(row: object) -> tuple[OutputValue, ...]:
    if not isinstance(row, Mapping):
        return (_value("", row),)
    if set(row) == {"b64"}:
        return (_value("", row),)
    return tuple(_value(str(name), value) for name, value in row.items())


def _value(name: str, value: object) -> OutputValue:
    chances = probabilities_in(value)
    if not chances:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        short = text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
        return OutputValue(name, short)
    order = sorted(range(len(chances)), key=lambda place: -chances[place])
    bars = tuple(ClassProbability(str(place), chances[place]) for place in order[:MOST_BARS])
    return OutputValue(name, "", bars, len(chances))


def probabilities_in(value: object) -> list[float]:
    """Return the numbers of a list that can be probabilities of classes, else nothing."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        return probabilities_in(value[0])
    if not isinstance(value, list) or not FEWEST_CLASSES <= len(value) <= MOST_CLASSES:
        return []
    numbers = [
        float(one) for one in value if isinstance(one, int | float) and not isinstance(one, bool)
    ]
    if len(numbers) != len(value) or not all(0 <= one <= 1 for one in numbers):
        return []
    return numbers if math.isclose(sum(numbers), 1, abs_tol=SUM_TOLERANCE) else []
