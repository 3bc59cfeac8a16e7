"""What a runner does with names, kinds and sizes of files that nobody can keep."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.found_files import FoundFile, files_below, open_regular, shown
from runs.files.store import path_problem
from tests.runner.stage import Group, one, python
from tests.runner.web import FakeServer, spec

WRITES_ODD_NAMES = r"""
import os
long, deep = "x" * 200, "y" * 200
odd = ["figs\\loss.png", "two\nlines", "a\ttab", "a\x07bell", b"latin\xff", "a" + "/d" * 120 + "/f"]
for folder in FOLDERS:
    for name in [*odd, f"{long}/{long}/{long}/{long}/{long}/x"]:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").write("odd")
    open(f"{folder}/model.txt", "w").write("good")
    here = os.getcwd()
    os.chdir(folder)
    for _ in range(25):
        os.mkdir(deep)
        os.chdir(deep)
    open("file", "w").write("deeper than a path can be")
    os.chdir(here)
"""
NOTES = [
    r"figs\loss.png was not kept: it has a backslash",
    r"two\nlines was not kept: it has a control character",
    r"a\ttab was not kept: it has a control character",
    r"a\x07bell was not kept: it has a control character",
    r"latin\udcff was not kept: its name is not UTF-8",
    "was not kept: it is longer than 1000 bytes",
    "was not kept: it is more than 100 folders deep",
    "was not kept: File name too long",
]


def problem_at(path: str) -> str:
    return path_problem(path, path.partition("/")[0])


@pytest.mark.processes
@pytest.mark.parametrize("judges_each", [True, False])
def test_an_odd_name_costs_nothing_but_its_file(
    yard: Path, web: FakeServer, judges_each: bool
) -> None:
    web.problem_of, web.judges_each = problem_at, judges_each
    script = WRITES_ODD_NAMES.replace("FOLDERS", '["outputs", "logs"]')
    group, told = one(yard, web, script)
    group.until_collected()
    assert told.outputs == {"outputs/model.txt": b"good"}
    assert told.files == {"logs/model.txt": b"good"}
    log = told.log.decode()
    for note in NOTES:
        assert log.count(note) == 2, note


@pytest.mark.processes
def test_an_odd_name_among_checkpoints_costs_nothing_but_its_file(
    yard: Path, web: FakeServer
) -> None:
    web.problem_of = problem_at
    folder = yard.parent / "disk" / "checkpoints"
    script = WRITES_ODD_NAMES.replace("FOLDERS", f"[{str(folder)!r}]")
    group = Group(
        yard,
        web,
        [spec(python(script), checkpoints={"folder": str(folder), "decides": True})],
    ).start()
    group.until_collected()
    assert group.told[0].checkpoints == {"checkpoints/model.txt": b"good"}
    for note in NOTES:
        assert note in group.told[0].log.decode()


@pytest.mark.processes
def test_a_file_larger_than_a_run_may_be_is_not_even_read(yard: Path, web: FakeServer) -> None:
    script = """
import os
open("outputs/good", "w").write("good")
os.truncate(os.open("outputs/huge", os.O_CREAT | os.O_RDWR), 1 << 40)
"""
    group, told = one(yard, web, script, max_file_bytes=1 << 30)
    group.until_collected()
    assert told.outputs == {"outputs/good": b"good"}
    assert b"outputs/huge was not kept: it has 1,099,511,627,776 bytes" in told.log


@pytest.mark.processes
def test_many_odd_names_do_not_fill_the_log(yard: Path, web: FakeServer) -> None:
    web.problem_of = problem_at
    script = """
for number in range(500):
    open(f"outputs/{number}\\\\x", "w").write("odd")
"""
    group, told = one(yard, web, script)
    group.until_collected()
    assert told.log.count(b"was not kept") == 100
    assert b"more files were not kept" in told.log


def to_pipe(place: Path) -> None:
    os.mkfifo(place)


def to_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(place))


def to_device(place: Path) -> None:
    place.symlink_to("/dev/zero")


def to_folder(place: Path) -> None:
    place.mkdir()


@pytest.mark.parametrize("swap", [to_pipe, to_socket, to_device, to_folder])
def test_a_file_swapped_after_it_was_listed_hangs_nobody(
    tmp_path: Path, swap: Callable[[Path], None]
) -> None:
    place = tmp_path / "outputs" / "x"
    place.parent.mkdir()
    place.write_text("once a file")
    (found,) = files_below(str(tmp_path), "outputs", none_is_skipped)
    place.unlink()
    swap(place)
    with pytest.raises(OSError):  # noqa: PT011 - each kind has words of its own
        found.digest()
    with pytest.raises(OSError):  # noqa: PT011
        open_regular(str(place))
    assert not list(files_below(str(tmp_path), "outputs", none_is_skipped))


def test_a_file_that_grows_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    place = tmp_path / "x"
    place.write_text("short")
    seen = FoundFile("x", str(place), place.lstat())
    place.write_text("longer than that")
    assert seen.digest() == ""


def test_a_path_is_shown_on_one_line() -> None:
    assert shown("a\nb\x1b[31m\udcff") == r"a\nb\x1b[31m\udcff"
    assert len(shown("x" * 5000)) < 300


def none_is_skipped(path: str, reason: str) -> None:
    raise AssertionError(f"{path}: {reason}")
