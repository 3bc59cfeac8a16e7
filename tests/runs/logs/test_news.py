"""A log that says the same over and over says nothing new."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.logs.news import has_news

STAMP = "2026-11-30 12:03:{:02d}.123456: I tensorflow/core/distributed_runtime/master.cc:266] "
WAITS = "CreateSession still waiting for response from worker: /job:worker/replica:0/task:1\n"
CASES = [
    ("the first line", "", "loading\n", True),
    ("the same line again", "loading\n", "loading\n", False),
    ("the same words with another number", "step 1 done\n", "step 2 done\n", True),
    ("the same line at another time", STAMP.format(1) + "x\n", STAMP.format(2) + "x\n", False),
    ("a session that waits", "start\n", STAMP.format(1) + WAITS, False),
    ("what follows the wait", STAMP.format(1) + WAITS, STAMP.format(9) + "go on\n", True),
    ("Python's logging", "2026-11-30 12:03:01,123 poll\n", "2026-11-30 12:03:02,124 poll\n", False),
    (
        "absl's prefix",
        "I0000 00:00:1700000000.123456  12345 a.cc:1] poll\n",
        "I0000 00:00:1700000010.654321  12345 a.cc:1] poll\n",
        False,
    ),
    ("a leading time of day", "[12:03:01] poll\n", "[12:03:02] poll\n", False),
    ("a bar that is drawn anew", "\r10 %\r20 %", "\r30 %\r", True),
    ("a bar that stands", "\r10 %\r", "\r10 %\r", False),
    ("a row of dots", "epoch 1 ..", "..", True),
    ("the rest of a line seen before", "polling\npoll", "ing\n", False),
    ("empty lines", "loading\n", "\n\n", False),
    ("two lines in turn", "a\nb\n", "a\nb\na\n", False),
]


@pytest.mark.parametrize(
    ("before", "added", "news"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_what_is_news(before: str, added: str, news: bool) -> None:
    assert has_news(before.encode(), added.encode()) is news


@given(st.lists(st.binary().filter(lambda line: not set(line) & set(b"\r\n"))))
def test_a_text_said_again_is_never_news(lines: list[bytes]) -> None:
    text = b"".join(line + b"\n" for line in lines)
    assert not has_news(text + b"end\n", text + b"end\n")
