"""Series thinned to what a chart can show."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runs.metrics.points import BYTES_EACH, Points

MAX_STEP = 2**63 - 1
BLOCK = 64
OUTLINE_COLUMNS = 4
# A block lies in one range of a chart as a whole where it is no wider than this part of it.
PART_OF_RANGE = 8


@dataclass(frozen=True)
class Outline:
    """The points that count of a longer series.

    `places` are the steps at which they count: for the points of a block, its first step.
    """

    points: Points
    places: NDArray[np.int64]

    @classmethod
    def of(cls, points: Points) -> "Outline":
        """Return the ends, the extremes and the first NaN of each block of ordered points."""
        block = np.arange(len(points)) // BLOCK
        starts = np.arange(0, len(points), BLOCK)
        ends = np.append(starts[1:], len(points)) - 1
        kept = np.unique(np.concatenate([starts, ends, _extremes(points, block)]))
        return cls(points.at(kept), points.steps[starts[block[kept]]])

    @classmethod
    def unpack(cls, packed: bytes | memoryview) -> "Outline":
        count = len(packed) // (OUTLINE_COLUMNS * BYTES_EACH)
        places = np.frombuffer(packed, "<i8", count)
        return cls(Points.unpack(memoryview(packed)[count * BYTES_EACH :]), places)

    @classmethod
    def joined(cls, parts: list["Outline"]) -> "Outline":
        places = [part.places for part in parts] or [np.zeros(0, np.int64)]
        return cls(Points.joined([part.points for part in parts]), np.concatenate(places))

    def pack(self) -> bytes:
        return self.places.astype("<i8", copy=False).tobytes() + self.points.pack()

    def widest_block(self) -> int:
        return 2 * int(np.max((self.points.steps >> 1) - (self.places >> 1))) + 1


def range_width(first: int, last: int, max_points: int) -> int:
    """Return half the width of the ranges of steps of a chart.

    By halves, as steps may be farther apart than the largest integer.
    """
    ranges = max((max_points - 2) // 3, 1)
    return min((last // 2 + 1 - first // 2) // ranges + 1, MAX_STEP)


def thinned(outline: Outline, max_points: int) -> Points:
    """Keep the lowest and the highest point of each range of steps, and where NaN was seen.

    The first and the last point stay. The same points always give the same answer.
    """
    points = outline.points
    first = int(np.argmin(points.steps))
    last = len(points) - 1 - int(np.argmax(points.steps[::-1]))
    low = int(points.steps[first])
    width = range_width(low, int(points.steps[last]), max_points)
    place = ((outline.places >> 1) - low // 2) // width
    order = np.argsort(place, kind="stable")
    kept = order[_extremes(points.at(order), place[order])]
    return points.at(np.unique(np.append(kept, [first, last]))).by_step()


def _extremes(points: Points, place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the first lowest, highest and undefined point of each place is."""
    begins = np.flatnonzero(place[1:] != place[:-1]) + 1
    starts = np.concatenate([np.zeros(1, np.int64), begins])
    lengths = np.diff(np.append(starts, len(points)))

    def is_extreme(extreme: np.ufunc) -> NDArray[np.bool_]:
        extremes = np.repeat(extreme.reduceat(points.values, starts), lengths)
        found: NDArray[np.bool_] = points.values == extremes
        return found

    wanted = (is_extreme(np.fmin), is_extreme(np.fmax), np.isnan(points.values))
    return np.concatenate([_first_of_each(one, place) for one in wanted])


def _first_of_each(is_one: NDArray[np.bool_], place: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.flatnonzero(is_one)
    _, first = np.unique(place[found], return_index=True)
    return found[first]
