"""P6: the supervisor takes in what ended of what it started, whether a run is left or not."""

import os
from pathlib import Path

import pytest
from django.core.management import call_command

from runner import procfs
from runner.process_directory import ProcessDirectory
from workspace.compute import runner_processes


@pytest.mark.django_db(transaction=True)
def test_a_runner_that_ended_is_no_zombie_after_the_next_tick(tmp_path: Path) -> None:
    folder = ProcessDirectory(str(tmp_path))
    lock = folder.try_lock()
    assert lock is not None
    runner_processes.spawn(folder, lock)  # without settings, it ends at once
    runner = runner_processes._runners[-1].pid
    os.waitid(os.P_PID, runner, os.WEXITED | os.WNOWAIT)
    status = procfs.status_of(runner)
    assert status is not None
    assert status.is_zombie
    call_command("supervisor", once=True)
    assert procfs.status_of(runner) is None
