"""The lines of a log as a terminal shows them, however its bytes come and wherever blocks end."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.logs import index
from runs.logs.log_file import LogFile
from runs.logs.screen import REACH, WINDOW, lines_shown
from tests.property_tests import EXAMPLES
from tests.runs.logs.bars import rich_bars, tqdm_bars

MOVES = ["\x1b[A", "\x1b[2A", "\x1b[F", "\x1b[B", "\x1b[E", "\x1b[3C", "\x1b[5G", "\x1b[2D"]
ERASES = ["\x1b[J", "\x1b[K", "\x1b[1K", "\x1b[2K", "\r\x1b[2K"]
LETTERS = ["a", "loss 0.1", "é", "🚂", "\n", "\n\n", "\r", "\b", "\x1b[31m", "\x1b[0m", "\x1b[?25l"]
ODD = ["\x1b[999999999A", "\x1b[99999999999A", "\x1b", "\x1b[", "\x1b[3", "2", "m"]
PIECES = st.sampled_from([*MOVES, *ERASES, *LETTERS, *ODD])
TEXTS = st.lists(PIECES, max_size=60).map(lambda pieces: "".join(pieces).encode())
SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "worker-0.log")


def all_lines(log: LogFile) -> list[str]:
    lines: list[str] = []
    while len(lines) < log.lines(0, 1).total:
        lines += log.lines(len(lines), 3).lines
    return lines


@given(text=TEXTS, cuts=st.lists(st.integers(0, 300), max_size=8), block=st.sampled_from([32, 64]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_however_a_log_is_cut_into_chunks_and_blocks_its_lines_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, cuts: list[int], block: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    whole = LogFile(folder / "whole.log", keeps_index=False)
    whole.append(0, text)
    expected = whole.lines(0, 5000)
    assert expected.total == len(expected.lines)
    parts = LogFile(folder / "parts.log")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "BLOCK", block)
        patch.setattr("runs.logs.log_file.BLOCK", block)
        for start, end in pairwise([0, *sorted(cuts), len(text)]):
            parts.append(start, text[start:end])
            parts.lines(-1, 1)
        assert parts.lines(0, 5000) == expected
        assert all_lines(parts) == expected.lines
        found = [match.line for match in parts.search("loss", 0, 100).matches]
    assert found == [match.line for match in whole.search("loss", 0, 100).matches]
    assert found == [number for number, line in enumerate(expected.lines) if "loss" in line]
    assert parts.read(0, 5000) == text


SIMPLE = st.sampled_from(
    ["a", "bcd", "\n", "\r", "\x1b[A", "\x1b[2A", "\x1b[B", "\x1b[K", "\x1b[2K"]
)


def reference(pieces: list[str]) -> list[str]:
    """Draw on a grid without limits."""
    rows, row, column = [""], 0, 0
    for piece in pieces:
        if piece == "\n":
            row, column = row + 1, 0
            rows += [""] * (row == len(rows))
        elif piece == "\r":
            column = 0
        elif piece.endswith("A"):
            row = max(row - (2 if "2" in piece else 1), 0)
        elif piece.endswith("B"):
            row = min(row + 1, len(rows) - 1)
        elif piece.endswith("K"):
            rows[row] = "" if "2" in piece else rows[row][:column]
        else:
            rows[row] = f"{rows[row][:column]:<{column}}{piece}{rows[row][column + len(piece) :]}"
            column += len(piece)
    return [text.rstrip() for text in rows]


@given(st.lists(SIMPLE, max_size=WINDOW))
@settings(max_examples=EXAMPLES)
def test_lines_read_as_on_a_terminal(pieces: list[str]) -> None:
    # At last the cursor moves up to the first row, so that all are drawn.
    text = "".join([*pieces, "\x1b[99A"]).encode()
    lines = [line.decode().rstrip() for line in lines_shown(text)]
    expected = reference(pieces)
    assert lines == expected[: len(lines)]
    assert not any(expected[len(lines) :])


def test_nested_bars_of_tqdm_are_one_line_each(log: LogFile) -> None:
    text = tqdm_bars()
    log.append(0, text)
    assert text.count(b"\n") > 800
    lines = [line.rstrip() for line in log.lines(0, 100).lines]
    assert lines[:-1] == [f"epoch {number} is over" for number in range(4)]
    assert lines[-1].startswith("outer: 100%|██████████| 4/4 ")


def test_bars_of_rich_are_one_line_each_with_their_colours(log: LogFile) -> None:
    log.append(0, rich_bars())
    *prints, outer, inner = log.lines(0, 100).lines
    assert prints == [f"epoch \x1b[1;36m{number}\x1b[0m is over" for number in range(4)]
    assert SGR.sub("", outer) == f"outer {'━' * 40} 100% 0:00:00"
    assert f"\x1b[91m{'━' * 40}\x1b[0m" in inner


def test_while_bars_are_drawn_their_last_state_counts(log: LogFile) -> None:
    log.append(0, b"begun\nouter 0%\ninner 0%\x1b[A\n\rinner 1%\x1b[A\router 1%")
    lines = log.lines(0, 10)
    assert lines.lines == ["begun", "outer 1%", "inner 1%"]
    assert not lines.is_complete


def test_only_the_window_at_the_end_is_drawn_anew(log: LogFile) -> None:
    log.append(0, b"".join(b"%d\n" % number for number in range(100)) + b"\x1b[9999A\rtop\n")
    lines = log.lines(0, 200).lines
    first = 100 + 1 - WINDOW
    assert lines == [*map(str, range(first)), "top", *map(str, range(first + 1, 100))]


def test_what_lies_far_back_is_out_of_reach(log: LogFile) -> None:
    log.append(0, b"one\n" + b"x" * (REACH + 1) + b"\ntwo\n\x1b[9A\rnew\n")
    assert log.lines(0, 1).lines == ["one"]
    assert log.lines(2, 5).lines == ["new"]


def test_bars_of_many_blocks_keep_their_lines_and_few_bytes(log: LogFile) -> None:
    bars = b"".join(b"\rinner %d %s\x1b[A\n" % (step, b"." * 2000) for step in range(2000))
    log.append(0, b"outer\n" + bars)
    assert log.size() > 8 * index.BLOCK
    assert log.lines(0, 10).total == 2
    assert log.lines(1, 1).lines[0].startswith("inner 1999")
    assert [match.line for match in log.search("inner", 0, 100).matches] == [1]
    states = log.path.with_name("worker-0.log.states")
    assert states.stat().st_size < 100_000
    states.write_bytes(b"torn")
    assert log.lines(1, 1).lines[0].startswith("inner 1999")


def test_an_index_of_an_older_trainyard_is_made_again(log: LogFile) -> None:
    log.append(0, b"\n" * 3 * index.BLOCK)
    sidecar = log.path.with_name("worker-0.log.idx")
    fresh = sidecar.read_bytes()
    sidecar.write_bytes(b"".join(n.to_bytes(8, "little") for n in (0, 99, 100, 101)))
    assert log.lines(0, 1).total == 3 * index.BLOCK
    assert sidecar.read_bytes() == fresh


@pytest.mark.parametrize(
    "piece",
    [
        b"\x1b[A",
        b"\x1b[999999999A\n",
        b"x\x1b[A\n",
        b"\x1b[50A\x1b[J",
        b"\x1b[1;31mx\x1b[A",
        b"\x1b[A\x1b[999C.",
    ],
    ids=["up", "up and down", "letters", "erase below", "colours", "far right"],
)
def test_hostile_drawings_take_little_room(log: LogFile, piece: bytes) -> None:
    lines = b"".join(b"y" * 3000 + b"%d\n" % number for number in range(WINDOW))
    log.append(0, lines + piece * (2 * index.BLOCK // len(piece)))
    assert log.lines(-10, 10).total <= WINDOW + 1
    states = log.path.with_name("worker-0.log.states")
    assert states.stat().st_size < 3 * index.BLOCK
