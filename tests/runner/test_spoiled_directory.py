"""A program that spoils the files of its own runner stops neither the runner nor the supervisor."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from runner.process_directory import append_note, read_json, read_tail, write_json
from tests.runner.stage import one
from tests.runner.web import FakeServer, until

pytestmark = pytest.mark.processes
SPOILS = """
import os, time
here = os.environ["TRAINYARD_RUNNER_DIR"]
for name in ("pid", "grace", "exit.json", "salvages", "runner.log", "spool.log", "spec.json"):
    place = os.path.join(here, name)
    for spoiled in (place, place + ".new"):
        if os.path.exists(spoiled):
            os.unlink(spoiled)
        SPOIL
print("spoiled", flush=True)
time.sleep(600)
"""
WAYS = {
    "pipes": "os.mkfifo(spoiled)",
    "folders": "os.mkdir(spoiled)",
    "devices": "os.symlink('/dev/zero', spoiled)",
    "no sense": "open(spoiled, 'w').write('[' * 100_000)",
    "other things": 'open(spoiled, "w").write(\'{"pid": "../..", "count": "x", "exit_code": []}\')',
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_whatever_a_program_puts_in_place_of_its_runners_files_it_can_be_ended(
    yard: Path, web: FakeServer, way: str
) -> None:
    group, _ = one(yard, web, SPOILS.replace("SPOIL", way), grace_seconds=1)
    spoiled = group.folder() / "spec.json.new"
    until(lambda: spoiled.is_symlink() or spoiled.exists(), "all is spoiled")
    backend = group.backend
    assert len(backend.observe(group.label)) == 1
    backend.stop(group.label, timedelta(seconds=1))
    backend.recover_outputs(group.label, group.names)
    backend.kill(group.label)
    until(lambda: not backend.recover_outputs(group.label, group.names), "recovery has an end")
    backend.observe(group.label)
    backend.remove(group.label)
    assert not group.folder().exists()


ENDS = """
import os, shutil
here = os.environ["TRAINYARD_RUNNER_DIR"]
for name in NAMES:
    place = os.path.join(here, name)
    for spoiled in (place, place + ".new"):
        if os.path.isdir(spoiled) and not os.path.islink(spoiled):
            shutil.rmtree(spoiled)
        elif os.path.lexists(spoiled):
            os.unlink(spoiled)
        SPOIL
print("spoiled", flush=True)
raise SystemExit(3)
"""
NOT_THE_LOG = (
    "variables.json",
    "secrets",
    "exit.json",
    "collected",
    "pid",
    "grace",
    "salvages",
    "runner.log",
    "spec.json",
)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_whatever_a_program_puts_there_its_exit_and_its_log_arrive(
    yard: Path, web: FakeServer, way: str
) -> None:
    script = ENDS.replace("SPOIL", way).replace("NAMES", repr(NOT_THE_LOG))
    _, told = one(yard, web, script)
    until(lambda: told.collected, "all has arrived")
    assert told.ending
    assert told.ending["exit_code"] == 3
    assert b"spoiled\n" in told.log


def test_files_of_a_runner_are_read_and_written_without_waiting(tmp_path: Path) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    os.mkfifo(f"{pipe}.new")
    assert read_json(pipe) is None
    assert read_tail(pipe, 10) == b""
    for write in (lambda: write_json(pipe, {}), lambda: append_note(pipe, "x")):
        with pytest.raises(OSError):  # noqa: PT011 - ENXIO: nobody reads it
            write()
