"""P5: a runner that nobody waits for ends its program and itself."""

import os
import shutil
from pathlib import Path

import pytest

from runner.process_directory import read_json
from runner.server_connection import ServerConnection, ServerTimeout, identity_of
from tests.runner.conftest import web, yard
from tests.runner.stage import one
from tests.runner.test_giving_up import runner_of
from tests.runner.test_program import is_alive
from tests.runner.web import FakeServer, spec, until

__all__ = ["web", "yard"]

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"


@pytest.mark.processes
def test_a_server_that_is_away_for_too_long_ends_the_program_and_its_runner(
    yard: Path, web: FakeServer
) -> None:
    group, told = one(yard, web, SLEEPS, server_timeout_seconds=0.5)
    until(lambda: told.started)
    runner = runner_of(group)
    web.close()
    until(lambda: not is_alive(told.started or 0), "the program is gone")
    until(lambda: not is_alive(runner), "the runner is gone")
    ending = read_json(str(group.folder() / "exit.json")) or {}
    assert ending["reason"] == "was killed: the server did not answer for 0.5 s"
    assert not (group.folder() / "collected").exists()  # a server that is back recovers the rest


@pytest.mark.processes
@pytest.mark.parametrize("keeps", ["nothing", "another"])
def test_a_runner_whose_home_is_removed_ends_with_its_program(
    yard: Path, web: FakeServer, keeps: str
) -> None:
    group, told = one(yard, web, SLEEPS)
    until(lambda: told.started)
    runner, folder = runner_of(group), group.folder()
    folder.rename(yard / "removed")
    if keeps == "another":
        folder.mkdir(parents=True)
    shutil.rmtree(yard / "removed", ignore_errors=True)
    until(lambda: not is_alive(told.started or 0), "the program is gone")
    until(lambda: not is_alive(runner), "the runner is gone")


def test_a_directory_that_is_removed_is_gone_even_where_it_is_still_found(tmp_path: Path) -> None:
    """As in a mount namespace, which keeps a path to a directory that was removed outside."""
    removed = tmp_path / "removed"
    removed.mkdir()
    opened = os.open(removed, os.O_RDONLY)
    try:
        assert identity_of(f"/proc/self/fd/{opened}") == identity_of(str(removed)) is not None
        removed.rmdir()
        assert identity_of(f"/proc/self/fd/{opened}") is None
    finally:
        os.close(opened)


def test_calls_of_a_runner_end_when_the_server_is_away_for_too_long(
    web: FakeServer, tmp_path: Path
) -> None:
    web.expect("token", spec=spec(["true"]))
    connection = ServerConnection(web.url, "token", "", str(tmp_path))
    connection.server_timeout_seconds = 0.0
    web.trouble = lambda process, path: 503
    with pytest.raises(ServerTimeout):
        connection.call(connection.open(), "GET", "spec")
