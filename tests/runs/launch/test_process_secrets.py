"""Each process of an MPI run gets the keys that it needs, and no other."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from runs.launch.process_secrets import with_keys

LAUNCHER = {"ranks": 2, "hosts": [{"name": "worker-0", "address": "worker-0:2222", "slots": 2}]}
WORKER = {"address": "worker-0:2222"}


def public_of(private: str, folder: Path) -> str:
    path = folder / "key"
    path.write_text(private)
    path.chmod(0o600)
    done = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_the_launcher_may_enter_the_worker_and_knows_it(tmp_path: Path):
    launcher = with_keys(LAUNCHER, "run-1-1", "launcher-0")
    worker = with_keys(WORKER, "run-1-1", "worker-0")
    assert launcher is not None
    assert worker is not None
    assert public_of(launcher["key"], tmp_path) == worker["client_key"]
    assert public_of(worker["host_key"], tmp_path) == launcher["hosts"][0]["host_key"]


def test_a_worker_never_sees_the_key_that_opens_others():
    worker = with_keys(WORKER, "run-1-1", "worker-0")
    other = with_keys(WORKER, "run-1-1", "worker-1")
    assert worker is not None
    assert other is not None
    assert json.dumps(worker).count("PRIVATE KEY") == 2  # the first and the last line of one
    assert worker["host_key"] != other["host_key"]


def test_every_attempt_has_keys_of_its_own():
    first = with_keys(WORKER, "run-1-1", "worker-0")
    second = with_keys(WORKER, "run-1-2", "worker-0")
    assert first is not None
    assert second is not None
    assert first["client_key"] != second["client_key"]


def test_other_runs_and_a_launcher_alone_get_no_key():
    assert with_keys(None, "run-1-1", "worker-0") is None
    alone = with_keys({"ranks": 2, "hosts": []}, "run-1-1", "launcher-0")
    assert alone is not None
    assert alone["key"] == ""
