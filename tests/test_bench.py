"""The benchmarks, as far as nothing is measured."""

import os
import subprocess
import sys

import pytest

from config.settings import BASE_DIR


@pytest.mark.slow
def test_what_is_no_row_is_answered_with_those_that_there_are() -> None:
    environment = {
        name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench", "queues"],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("No such row: queues. There are ")
    assert " queue," in done.stderr
