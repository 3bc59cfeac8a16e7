"""The merged log of a group: whole lines, in the order they came, healed after a crash."""

import os
from pathlib import Path

import pytest

from runs.logs.log_file import log_of
from runs.logs.merged import RECORD, MergedLog, _remembered


@pytest.fixture
def merged(home: Path) -> MergedLog:
    return MergedLog("run-1-1", ("worker-0", "worker-1"))


def write(process: str, text: str) -> None:
    log = log_of("run-1-1", process)
    log.append(log.size(), text.encode())


def all_lines(merged: MergedLog) -> list[str]:
    return merged.lines(0, 1000).lines


def test_lines_come_in_the_order_in_which_they_were_stored(merged: MergedLog) -> None:
    for process, text in [("worker-1", "a\n"), ("worker-0", "b\nc\n"), ("worker-1", "d\n")]:
        write(process, text)
        merged.update()
    assert all_lines(merged) == ["worker-1 | a", "worker-0 | b", "worker-0 | c", "worker-1 | d"]
    assert merged.lines(2, 1).lines == ["worker-0 | c"]
    assert merged.lines(-1, 5).first == 3


def test_a_line_is_shown_when_it_is_whole_and_never_split(merged: MergedLog) -> None:
    write("worker-0", "half")
    write("worker-1", "other\n")
    merged.update()
    assert all_lines(merged) == ["worker-1 | other"]
    write("worker-0", " and half\n")
    assert all_lines(merged) == ["worker-1 | other", "worker-0 | half and half"]


def test_a_last_line_without_a_newline_is_shown_once_its_process_is_over(home: Path) -> None:
    write("worker-0", "no newline")
    over = MergedLog("run-1-1", ("worker-0",), final={"worker-0"})
    assert all_lines(over) == ["worker-0 | no newline"]
    assert all_lines(over) == ["worker-0 | no newline"]


def test_what_was_stored_without_its_journal_record_is_found_by_the_next_reader(
    merged: MergedLog,
) -> None:
    write("worker-0", "before\n")
    merged.update()
    write("worker-1", "stored, then the web process died\n")
    _remembered.clear()
    with open(merged._path, "ab") as journal:
        journal.write(b"torn record"[: RECORD.size - 1])
    assert all_lines(merged) == [
        "worker-0 | before",
        "worker-1 | stored, then the web process died",
    ]
    assert os.path.getsize(merged._path) == 2 * RECORD.size


def test_a_chunk_continues_at_the_record_that_it_names(merged: MergedLog) -> None:
    write("worker-0", "a\nb\n")
    merged.update()
    write("worker-1", "c\n")
    first = merged.chunk(0, 1)
    assert first is not None
    assert (first.text, first.next, first.has_more) == ("worker-0 | a\nworker-0 | b\n", 1, True)
    second = merged.chunk(first.next, 1000)
    assert second is not None
    assert (second.text, second.next, second.has_more) == ("worker-1 | c\n", 2, False)
    assert merged.chunk(second.next, 1000) is None


def test_only_what_a_progress_bar_shows_last_is_merged(merged: MergedLog) -> None:
    write("worker-0", "1/3\r2/3\r3/3 loss 0.1\r\n")
    assert all_lines(merged) == ["worker-0 | 3/3 loss 0.1"]


def test_of_lines_that_a_piece_draws_anew_the_last_drawing_is_merged(merged: MergedLog) -> None:
    write("worker-0", "outer 0%\ninner 0%\x1b[A\n\rinner 1%\x1b[A\router 1%\n")
    assert all_lines(merged) == ["worker-0 | outer 1%", "worker-0 | inner 1%"]
    assert [match.line for match in merged.search("inner", 0, 5).matches] == [1]
    write("worker-0", "\x1b[2A\x1b[J\n")
    write("worker-1", "next\n")
    assert all_lines(merged)[-1] == "worker-1 | next"
    assert merged.lines(0, 1).total == len(all_lines(merged))


def test_a_line_drawn_anew_is_shown_as_it_was_left_though_none_is_saved(merged: MergedLog) -> None:
    write("worker-0", "one\ntwo\x1b[A\rONE\n")
    merged.update()
    assert all_lines(merged) == ["worker-0 | ONE", "worker-0 | two"]


def test_a_record_of_an_older_trainyard_keeps_its_lines(merged: MergedLog) -> None:
    text = b"outer\ninner 0%\x1b[A\n\rinner 1%\n"
    write("worker-0", text.decode())
    merged._path.write_bytes(RECORD.pack(0, 3, 0, len(text), 0.0, 3))
    assert len(all_lines(merged)) == merged.lines(0, 1).total == 3


def test_a_large_gap_becomes_many_records_and_no_line_is_lost(merged: MergedLog) -> None:
    write("worker-0", "".join(f"line {number}\n" for number in range(100_000)))
    assert merged.lines(0, 1).total == 100_000
    assert merged.lines(77_777, 1).lines == ["worker-0 | line 77777"]
    assert [match.line for match in merged.search("LINE 99999", 0, 5).matches] == [99_999]


def test_an_endless_line_is_taken_in_pieces(merged: MergedLog) -> None:
    write("worker-0", "x" * 9_000_000)
    assert merged.lines(0, 10).total == 2
