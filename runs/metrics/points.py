"""Points of one series in memory: columns of steps, times and values."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
BYTES_EACH = 8
COLUMNS = 3


class Point(NamedTuple):
    """A value at a step; `at` in microseconds since the epoch."""

    step: int
    at: int
    value: float


@dataclass(frozen=True)
class Points:
    steps: NDArray[np.int64]
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, points: Sequence[Point]) -> "Points":
        steps, times, values = zip(*points, strict=True) if points else ((), (), ())
        return cls(
            np.array(steps, np.int64), np.array(times, np.int64), np.array(values, np.float64)
        )

    @classmethod
    def unpack(cls, packed: bytes | memoryview) -> "Points":
        length = len(packed) // COLUMNS
        count = length // BYTES_EACH
        return cls(
            np.frombuffer(packed, "<i8", count),
            np.frombuffer(packed, "<i8", count, length),
            np.frombuffer(packed, "<f8", count, 2 * length),
        )

    @classmethod
    def joined(cls, parts: Sequence["Points"]) -> "Points":
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.of([])
        return cls(
            np.concatenate([part.steps for part in parts]),
            np.concatenate([part.times for part in parts]),
            np.concatenate([part.values for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Point]:
        columns = (self.steps.tolist(), self.times.tolist(), self.values.tolist())
        return map(Point._make, zip(*columns, strict=True))

    def pack(self) -> bytes:
        columns = (
            self.steps.astype("<i8", copy=False),
            self.times.astype("<i8", copy=False),
            self.values.astype("<f8", copy=False),
        )
        return b"".join(column.tobytes() for column in columns)

    def at(self, where: NDArray[np.bool_] | NDArray[np.int64] | slice) -> "Points":
        return Points(self.steps[where], self.times[where], self.values[where])

    def by_step(self) -> "Points":
        """Return the points ordered by step; those of one step stay in the order of arrival."""
        if bool(np.all(self.steps[1:] >= self.steps[:-1])):
            return self
        return self.at(np.argsort(self.steps, kind="stable"))

    def between(self, first: int | None, last: int | None) -> "Points":
        """Return the points of the steps `first` to `last` of points that are ordered."""
        start = 0 if first is None else int(np.searchsorted(self.steps, first, "left"))
        end = len(self) if last is None else int(np.searchsorted(self.steps, last, "right"))
        return self if end - start == len(self) else self.at(slice(start, end))

    def last(self) -> Point:
        """Return the greatest point by step, time and value; NaN is the smallest value."""
        if len(self) == 1:
            return next(iter(self))
        newest = self.at(self.steps == self.steps.max())
        newest = newest.at(newest.times == newest.times.max())
        return Point(
            int(newest.steps[0]), int(newest.times[0]), float(np.fmax.reduce(newest.values))
        )


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def time_of(at: int) -> datetime:
    return EPOCH + at * MICROSECOND


def by_series(rows: Iterable[tuple[int, Point]]) -> dict[int, list[Point]]:
    """Return points by the key of their series."""
    found: dict[int, list[Point]] = {}
    for series, point in rows:
        found.setdefault(series, []).append(point)
    return found
