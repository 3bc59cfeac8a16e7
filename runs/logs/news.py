"""Whether what a log grew by says anything new. Pure functions."""

import re

BREAKS = re.compile(rb"[\r\n]+")
# The time of a line is no news: dates with times, glog's and absl's prefixes, a leading time.
TIMESTAMPS = re.compile(
    rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
    rb"|[IWEF]\d{4} \d\d:\d\d:[\d.]+ +\d+"
    rb"|^\W*\d\d:\d\d:\d\d(?:[.,]\d+)?"
)
# A session of TensorFlow 1 prints this every ten seconds while a task of its cluster is missing.
WAITS_FOR_TASK = re.compile(
    rb"still waiting for response from worker: /job:([a-z]+)/replica:\d+/task:(\d+)"
)


def has_news(before: bytes, added: bytes) -> bool:
    """Return whether `added` has a line that the text before it has not, but for its time.

    A line that grows without an end, such as a row of dots, is news; what waits for a task is not.
    """
    *known, unfinished = BREAKS.split(before)
    *lines, _ = BREAKS.split(unfinished + added)
    if not lines:
        return True
    told = {_meaning(line) for line in known} | {b""}
    return any(_meaning(line) not in told and not WAITS_FOR_TASK.search(line) for line in lines)


def _meaning(line: bytes) -> bytes:
    return TIMESTAMPS.sub(b"", line).strip()
