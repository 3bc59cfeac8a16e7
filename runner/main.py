"""Take the folder and see the process through."""

from __future__ import annotations

import os
import sys

from runner import mpi, mpi_rank, procfs
from runner.http_client import ProcessFenced
from runner.process_directory import ProcessDirectory, touch, write_json
from runner.server_connection import ServerTimeout
from runner.session import Session

SUBCOMMANDS = {mpi.LAUNCH: mpi.launch, mpi.SERVE: mpi.serve, mpi.RANK: mpi_rank.run_rank}


def main(arguments: list[str]) -> int:
    folder = ProcessDirectory(os.path.abspath(arguments[0]))
    options = arguments[1:]
    for option, part in SUBCOMMANDS.items():
        if option in options:
            return part(folder)
    if not _has_lock(folder, options):
        return 0
    is_finish = "--finish" in options
    if not is_finish and (os.path.exists(folder.launched) or os.path.exists(folder.exit_record)):
        return 0
    status = procfs.status_of(os.getpid())
    if status is not None:
        write_json(folder.pid, {"pid": status.pid, "started": status.started})
    session = Session(folder)
    try:
        session.finish() if is_finish else session.run()
    except ProcessFenced as fenced:
        sys.stderr.write(f"fenced: {fenced}\n")
        if os.path.isdir(folder.path):
            touch(folder.collected)
        return 1
    except OSError as error:
        if os.path.isdir(folder.path):
            raise
        sys.stderr.write(f"the directory of this process was removed: {error}\n")
        return 1
    except ServerTimeout as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _has_lock(folder: ProcessDirectory, options: list[str]) -> bool:
    """Keep the lock that was passed on, or take it; it is held until this process ends."""
    for option in options:
        if option.startswith("--lock="):
            os.set_inheritable(int(option.partition("=")[2]), False)
            return True
    return folder.try_lock() is not None
