"""Runners that are processes of this machine: start them, recover the outputs of dead ones."""

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL
from types import MappingProxyType
from typing import IO

from runner import procfs
from runner.constants import DIRECTORY_VARIABLE
from runner.process_directory import ProcessDirectory, read_json, write_json
from workspace.compute.access import TargetAccess
from workspace.compute.confinement import of_recovery

RUNNER = Path(procfs.__file__).with_name("__main__.py")
RUNNER_COMMAND = (sys.executable, "-I", "-S", str(RUNNER))
MAX_RECOVERY_ATTEMPTS = 5
RECOVERY_RETRY_SECONDS = 2.0
# What the user's programs get of our own environment: nothing that is ours alone.
INHERITED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|CUDA_HOME|CUDA_PATH"
    r"|\w+_CA_BUNDLE|SSL_CERT_FILE|SSL_CERT_DIR|(?i:https?_proxy|all_proxy|no_proxy)"
)
log = logging.getLogger(__name__)
# Of all backends in this process: a runner outlives the object that started it.
_runners: list[subprocess.Popen[bytes]] = []


def spawn(
    folder: ProcessDirectory,
    lock: int,
    *options: str,
    confined_by: Sequence[str] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Start a runner in a session of its own; it inherits the lock on its folder.

    `confined_by` is a command that takes rights away and then becomes what follows it; `variables`
    go before those of ours.
    """
    try:
        with _runner_log(folder) as output:
            runner = subprocess.Popen(  # noqa: S603 - our own program
                [*confined_by, *RUNNER_COMMAND, folder.path, f"--lock={lock}", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder.path,
                # Environments are not written to, which would make them others than were built.
                env={
                    **_inherited(),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    **variables,
                    DIRECTORY_VARIABLE: folder.path,
                },
                pass_fds=(lock,),
                start_new_session=True,
            )
    finally:
        os.close(lock)
    _runners.append(runner)


def reap() -> None:
    """Take in runners of ours that have ended, so that none stays behind as a zombie."""
    _runners[:] = [runner for runner in _runners if runner.poll() is None]


def recover_if_needed(folder: ProcessDirectory, access: TargetAccess) -> bool:
    """Recover the outputs of a dead runner; return False once that is done or given up.

    What its program left alive is ended here: a confined runner does not see it.
    """
    if folder.is_locked():
        return True
    if os.path.exists(folder.collected):
        return False
    count, at = _recovery_attempts(folder)
    if count >= MAX_RECOVERY_ATTEMPTS:
        return False
    if abs(time.time() - at) < RECOVERY_RETRY_SECONDS:
        return True
    left = procfs.processes_with_variable(f"{DIRECTORY_VARIABLE}={folder.path}\0".encode())
    for process in left:
        procfs.send_signal(process, SIGKILL)
    if left:
        return True
    confined = of_recovery(Path(access.home), Path(folder.path), access.ca_bundle)
    try:
        lock = folder.try_lock()
        if lock is not None:
            write_json(folder.recovery_attempts, {"count": count + 1, "at": time.time()})
            spawn(folder, lock, "--finish", confined_by=confined.command())
    except OSError as error:
        log.warning("What %s left cannot be recovered: %s", folder.path, error)
        return False
    return True


def _recovery_attempts(folder: ProcessDirectory) -> tuple[int, float]:
    """Return how often, and when last, recovery was tried; what makes no sense was not ours."""
    tries = read_json(folder.recovery_attempts)
    if tries is None:
        return 0, 0.0
    count, at = tries.get("count"), tries.get("at")
    if not isinstance(count, int) or not isinstance(at, float):
        return MAX_RECOVERY_ATTEMPTS, 0.0
    return count, at


def _runner_log(folder: ProcessDirectory) -> IO[bytes]:
    """Open the log of a runner, or nothing where its program has put something else there."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return open(os.open(folder.runner_log, flags, 0o600), "ab")
    except OSError:
        return open(os.devnull, "ab")


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if INHERITED.fullmatch(name)}
