"""Runners that are processes of this machine: start them, and salvage what dead ones left."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from runs.runner import procfs
from runs.runner.folder import Folder, read_json, write_json

RUNNER = Path(procfs.__file__).with_name("__main__.py")
RUNNER_COMMAND = (sys.executable, "-I", "-S", str(RUNNER))
MAX_SALVAGES = 5
SALVAGE_EVERY_SECONDS = 2.0
# What the user's programs get of our own environment: nothing that is ours alone.
INHERITED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|CUDA_HOME|CUDA_PATH"
    r"|\w+_CA_BUNDLE|SSL_CERT_FILE|SSL_CERT_DIR|(?i:https?_proxy|all_proxy|no_proxy)"
)
# Of all backends in this process: a runner outlives the object that started it.
_runners: list[subprocess.Popen[bytes]] = []


def spawn(folder: Folder, lock: int, *options: str) -> None:
    """Start a runner in a session of its own; it inherits the lock on its folder."""
    try:
        with open(folder.runner_log, "ab") as output:
            runner = subprocess.Popen(  # noqa: S603 - our own program
                [*RUNNER_COMMAND, folder.path, f"--lock={lock}", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder.path,
                env=_inherited() | {"TRAINYARD_RUNNER_DIR": folder.path},
                pass_fds=(lock,),
                start_new_session=True,
            )
    finally:
        os.close(lock)
    _runners.append(runner)


def reap() -> None:
    """Take in runners of ours that have ended, so that none stays behind as a zombie."""
    _runners[:] = [runner for runner in _runners if runner.poll() is None]


def is_being_salvaged(folder: Folder) -> bool:
    """Have what a dead runner left in its folder shipped; False once that is done or given up."""
    if folder.is_taken():
        return True
    if os.path.exists(folder.collected):
        return False
    tries = read_json(folder.salvages) or {"count": 0, "at": 0.0}
    if tries["count"] >= MAX_SALVAGES:
        return False
    if abs(time.time() - tries["at"]) < SALVAGE_EVERY_SECONDS:
        return True
    lock = folder.take()
    if lock is not None:
        write_json(folder.salvages, {"count": tries["count"] + 1, "at": time.time()})
        spawn(folder, lock, "--finish")
    return True


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if INHERITED.fullmatch(name)}
