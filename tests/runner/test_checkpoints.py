"""Checkpoints are kept in step with the web process; what a run resumes from is there."""

from pathlib import Path
from typing import Any

import pytest

from tests.runner.stage import Group, python
from tests.runner.web import FakeServer, spec, tar_of, until

pytestmark = pytest.mark.processes
SHOWS_RESUMED = """
import os, pathlib, sys
folder = pathlib.Path(os.environ["TRAINYARD_RESUME_FROM"])
assert sys.argv[-2:] == ["--resume-from", str(folder)], sys.argv
for path in sorted(folder.rglob("*")):
    if path.is_file():
        print(path.relative_to(folder), path.read_text(), oct(path.stat().st_mode & 0o777))
"""
# Saves as TensorFlow does: data, their index, what names them; then the one before goes.
SAVES = """
import os, pathlib, time
folder = pathlib.Path(FOLDER)
print(sorted(path.name for path in folder.iterdir()), flush=True)
for step in (5, 6):
    (folder / f"ckpt-{step}.data").write_text(f"data {step}")
    (folder / f"ckpt-{step}.index").write_text(f"index {step}")
    (folder / "checkpoint").write_text(f"ckpt-{step}")
    for old in folder.glob(f"ckpt-{step - 1}.*"):
        old.unlink()
    while WAITS and step == 5 and not os.path.exists("seen"):
        time.sleep(0.01)
"""


def saving(yard: Path, web: FakeServer, *, decides: bool = True, waits: bool = False) -> Group:
    """Start a process that goes on from step 4 of an earlier attempt."""
    folder = yard.parent / "disk" / "checkpoints"
    folder.mkdir(parents=True)
    script = SAVES.replace("FOLDER", repr(str(folder))).replace("WAITS", str(waits))
    told: dict[str, Any] = {"folder": str(folder), "decides": decides}
    group = Group(yard, web, [spec(python(script), checkpoints=told)])
    group.told[0].checkpoints = {
        "checkpoints/ckpt-4.data": b"data 4",
        "checkpoints/ckpt-4.index": b"index 4",
        "checkpoints/checkpoint": b"ckpt-4",
    }
    return group


def test_what_earlier_attempts_kept_is_there_at_the_start_and_the_last_is_kept_at_the_end(
    yard: Path, web: FakeServer
) -> None:
    group = saving(yard, web).start()
    group.until_collected()
    (told,) = group.told
    assert told.log == b"['checkpoint', 'ckpt-4.data', 'ckpt-4.index']\n"
    assert told.checkpoints == {
        "checkpoints/ckpt-6.data": b"data 6",
        "checkpoints/ckpt-6.index": b"index 6",
        "checkpoints/checkpoint": b"ckpt-6",
    }


def test_changes_are_sent_while_the_program_runs_what_names_the_data_after_them(
    yard: Path, web: FakeServer
) -> None:
    group = saving(yard, web, waits=True).start()
    (told,) = group.told
    until(lambda: told.checkpoints.get("checkpoints/checkpoint") == b"ckpt-5", "step 5 is kept")
    assert told.uploads[:3] == [
        "checkpoints/ckpt-5.data",
        "checkpoints/ckpt-5.index",
        "checkpoints/checkpoint",
    ]
    until(lambda: len(told.uploads) >= 5, "step 4 is forgotten")
    assert sorted(told.uploads[3:5]) == ["-checkpoints/ckpt-4.data", "-checkpoints/ckpt-4.index"]
    (group.folder() / "work" / "seen").touch()
    group.until_collected()
    assert told.checkpoints["checkpoints/checkpoint"] == b"ckpt-6"


def test_a_process_that_does_not_decide_removes_only_its_own(yard: Path, web: FakeServer) -> None:
    group = saving(yard, web, decides=False, waits=True).start()
    (told,) = group.told
    until(lambda: told.checkpoints.get("checkpoints/checkpoint") == b"ckpt-5", "step 5 is kept")
    (group.folder() / "work" / "seen").touch()
    group.until_collected()
    assert set(told.checkpoints) == {
        f"checkpoints/{name}"
        for name in ("ckpt-4.data", "ckpt-4.index", "ckpt-6.data", "ckpt-6.index", "checkpoint")
    }


def test_a_program_finds_what_it_resumes_from_and_cannot_change_it(
    yard: Path, web: FakeServer
) -> None:
    group = Group(yard, web, [spec(python(SHOWS_RESUMED), resume=True)])
    (told,) = group.told
    told.resume = tar_of({"model/weights": b"12", "note.txt": b"hello"})
    group.start().until_collected()
    assert told.log.decode().splitlines() == ["model/weights 12 0o444", "note.txt hello 0o444"]
