"""The log store: appended by offset, read by line, searched, and merged."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.logs.index import BLOCK
from runs.logs.log_file import LogFile, log_of
from runs.logs.text import LINE_LIMIT, unfinished_character
from tests.property_tests import EXAMPLES


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "worker-0.log")


def filled(log: LogFile, data: bytes) -> LogFile:
    log.append(0, data)
    return log


def text_of(log: LogFile, *, step: int, is_final: bool = True) -> str:
    offset, text = 0, ""
    while chunk := log.chunk(offset, step, is_final=is_final):
        assert chunk.offset == offset
        offset, text = chunk.next, text + chunk.text
    return text


@given(
    data=st.binary(max_size=2000),
    sends=st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 700)), max_size=30),
)
@settings(max_examples=EXAMPLES)
def test_any_chunking_with_repeats_and_gaps_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, sends: list[tuple[int, int]]
) -> None:
    log = LogFile(tmp_path_factory.mktemp("log") / "worker-0.log")
    for offset, length in sends:
        before = log.size()
        answer = log.append(offset, data[offset : offset + length])
        assert answer == log.size() >= before
        assert log.read(0, 5000) == data[: log.size()]
    while (size := log.size()) < len(data):
        log.append(max(size - 3, 0), data[max(size - 3, 0) : size + 100])
    assert log.read(0, 5000) == data


def test_a_chunk_beyond_the_end_stores_nothing_and_is_told_the_size(log: LogFile) -> None:
    filled(log, b"one\n")
    assert log.append(10, b"later") == 4
    assert log.read(0, 100) == b"one\n"


def test_what_is_held_already_is_dropped_and_the_rest_appended(log: LogFile) -> None:
    filled(log, b"one\ntwo")
    assert log.append(4, b"two\nthree\n") == 14
    assert log.append(0, b"one\n") == 14
    assert log.read(0, 100) == b"one\ntwo\nthree\n"


@given(
    lines=st.lists(st.integers(0, 60_000), min_size=0, max_size=40),
    ends_whole=st.booleans(),
    first=st.integers(-45, 45),
    count=st.integers(1, 20),
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_lines_are_those_of_the_file_wherever_blocks_end(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[int],
    ends_whole: bool,
    first: int,
    count: int,
) -> None:
    log = LogFile(tmp_path_factory.mktemp("log") / "worker-0.log")
    expected = [f"{number}".ljust(length, "x") for number, length in enumerate(lines)]
    data = "".join(f"{line}\n" for line in expected)
    if not ends_whole:
        data = data.removesuffix("\n")
    expected = data.removesuffix("\n").split("\n") if data else []
    if data.endswith("\n\n"):
        expected = data[:-1].split("\n")
    log.append(0, data.encode())
    got = log.lines(first, count)
    start = max(len(expected) + first, 0) if first < 0 else min(first, len(expected))
    assert got.total == len(expected)
    assert got.first == start
    assert [line[:6] for line in got.lines] == [
        line[:6] for line in expected[start : start + len(got.lines)]
    ]
    assert len(got.lines) == min(count, len(expected) - start)
    assert got.is_complete == (not data or data.endswith("\n"))


def test_every_line_can_be_found_in_a_log_of_many_blocks(log: LogFile) -> None:
    data = "".join(f"line {number}\n" for number in range(120_000)).encode()
    assert len(data) > 4 * BLOCK
    filled(log, data)
    for number in (0, 1, 31_000, 77_777, 119_999):
        assert log.lines(number, 2).lines[0] == f"line {number}"
    assert log.lines(-500, 500).first == 119_500
    assert log.lines(200_000, 10).lines == []


def test_a_lost_or_stale_line_index_is_made_again(log: LogFile) -> None:
    data = b"".join(b"%d\n" % number for number in range(100_000))
    filled(log, data)
    index = log.path.with_name("worker-0.log.idx")
    whole = index.read_bytes()
    index.unlink()
    assert log.lines(99_999, 1).lines == ["99999"]
    assert index.read_bytes() == whole
    index.write_bytes(whole[: len(whole) // 2 + 3])
    assert log.lines(99_999, 1).lines == ["99999"]
    assert index.read_bytes() == whole


def test_a_line_of_ten_megabytes_is_cut_with_a_note_and_does_not_hide_the_next(
    log: LogFile,
) -> None:
    filled(log, b"before\n" + b"x" * 10_000_000 + b"\nafter\n")
    before, long, after = log.lines(0, 10).lines
    assert (before, after) == ("before", "after")
    assert len(long) < 2 * LINE_LIMIT
    assert "a line of 10,000,000 bytes" in long


def test_the_end_of_a_long_progress_bar_is_shown(log: LogFile) -> None:
    bar = b"".join(b"\r%d/20000 loss 0.1" % step for step in range(1, 20_001))
    filled(log, bar + b"\ndone\n")
    shown, done = log.lines(0, 5).lines
    assert shown.endswith("\r20000/20000 loss 0.1")
    assert len(shown) <= LINE_LIMIT
    assert done == "done"


def test_nul_bytes_and_invalid_utf8_become_text(log: LogFile) -> None:
    filled(log, b"a\x00b\n\xff\xfe\n<script>\n")
    assert log.lines(0, 5).lines == ["a\ufffdb", "\ufffd\ufffd", "<script>"]


@pytest.mark.parametrize("step", [4, 5, 7, 100])
def test_chunks_never_split_a_character(log: LogFile, step: int) -> None:
    text = "déjà vu, 日本語, 🚂🚃\n" * 20
    filled(log, text.encode())
    assert text_of(log, step=step) == text


def test_half_a_character_waits_for_its_rest_unless_the_log_is_final(log: LogFile) -> None:
    train = "🚂".encode()
    filled(log, b"a" + train[:2])
    chunk = log.chunk(0, 100)
    assert chunk is not None
    assert (chunk.text, chunk.next) == ("a", 1)
    assert log.lines(0, 5).size == 1
    assert text_of(log, step=100) == "a\ufffd"
    log.append(3, train[2:])
    assert text_of(log, step=100, is_final=False) == "a🚂"


@given(st.text(min_size=1), st.integers(0, 3))
def test_an_unfinished_character_is_recognised(text: str, dropped: int) -> None:
    data = text.encode()
    last = len(text[-1].encode())
    if dropped < last:
        assert unfinished_character(data[: len(data) - dropped]) == (
            last - dropped if dropped else 0
        )


def test_a_log_that_does_not_exist_yet_is_empty(log: LogFile) -> None:
    lines = log.lines(-10, 10)
    assert (lines.total, lines.lines, lines.is_complete) == (0, [], True)
    assert log.chunk(0, 100) is None
    assert log.search("x", 0, 10).is_done


def test_search_ignores_case_counts_lines_and_can_be_continued(log: LogFile) -> None:
    filled(log, b"".join(b"Epoch %d loss\n" % n for n in range(50_000)))
    found = log.search("EPOCH 4999", 0, 5)
    assert [match.line for match in found.matches] == [4999, *range(49_990, 49_994)]
    assert not found.is_done
    rest = log.search("epoch 4999", found.scanned_to, 100)
    assert [match.line for match in rest.matches] == list(range(49_994, 50_000))
    assert rest.is_done
    assert rest.scanned_to == 50_000


def test_search_goes_on_behind_a_very_long_line(log: LogFile) -> None:
    filled(log, b"y\n" + b"x" * 3_000_000 + b"\nneedle\n")
    assert [match.line for match in log.search("needle", 0, 10).matches] == [2]
    assert [match.line for match in log.search("xxx", 0, 10).matches] == [1]


def test_a_log_is_never_written_through_a_link(home: Path, tmp_path: Path) -> None:
    log = log_of("run-1-1", "worker-0")
    log.path.parent.mkdir(parents=True)
    os.symlink(tmp_path / "elsewhere", log.path)
    with pytest.raises(OSError, match="symbolic"):
        log.append(0, b"x")
    assert not (tmp_path / "elsewhere").exists()
