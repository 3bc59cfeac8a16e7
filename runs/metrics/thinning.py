"""Series thinned to what a chart can show."""

import numpy as np
from numpy.typing import NDArray

from runs.metrics.points import Points

MAX_STEP = 2**63 - 1


def thinned(points: Points, max_points: int) -> Points:
    """Keep the lowest and the highest point of each range of steps, and where NaN was seen.

    The first and the last point stay. The same points always give the same answer.
    """
    buckets = max((max_points - 2) // 3, 1)
    # By halves, as steps may be farther apart than the largest integer.
    low, high = int(points.steps[0]) // 2, int(points.steps[-1]) // 2 + 1
    width = min((high - low) // buckets + 1, MAX_STEP)
    bucket = ((points.steps >> 1) - low) // width
    begins = np.flatnonzero(np.diff(bucket)) + 1
    starts = np.concatenate([np.zeros(1, np.int64), begins])
    lengths = np.diff(np.append(starts, len(points)))
    undefined = np.isnan(points.values)
    kept = [
        np.array([0, len(points) - 1]),
        _first_of_each(points.values == _spread(np.fmin, points, starts, lengths), bucket),
        _first_of_each(points.values == _spread(np.fmax, points, starts, lengths), bucket),
        _first_of_each(undefined, bucket),
    ]
    return points.at(np.unique(np.concatenate(kept)))


def _spread(
    extreme: np.ufunc, points: Points, starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return for each point the extreme value of its range."""
    return np.repeat(extreme.reduceat(points.values, starts), lengths)


def _first_of_each(is_one: NDArray[np.bool_], bucket: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first that is one in each range."""
    places = np.flatnonzero(is_one)
    _, first = np.unique(bucket[places], return_index=True)
    return places[first]
