"""Take the folder and see the process through."""

from __future__ import annotations

import os
import sys

from runs.runner import mpi, procfs, rank
from runs.runner.folder import Folder, mark, write_json
from runs.runner.line import GaveUp
from runs.runner.session import Session
from runs.runner.source import BadSource
from runs.runner.wire import Fenced

PARTS = {mpi.LAUNCH: mpi.launch, mpi.SERVE: mpi.serve, mpi.RANK: rank.run_rank}


def main(arguments: list[str]) -> int:
    folder = Folder(os.path.abspath(arguments[0]))
    options = arguments[1:]
    for option, part in PARTS.items():
        if option in options:
            return part(folder)
    if not _has_lock(folder, options):
        return 0
    is_finish = "--finish" in options
    if not is_finish and (os.path.exists(folder.launched) or os.path.exists(folder.ending)):
        return 0
    status = procfs.status_of(os.getpid())
    if status is not None:
        write_json(folder.pid, {"pid": status.pid, "started": status.started})
    session = Session(folder)
    try:
        session.finish() if is_finish else session.run()
    except Fenced as fenced:
        sys.stderr.write(f"fenced: {fenced}\n")
        mark(folder.collected)
        return 1
    except (GaveUp, BadSource) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _has_lock(folder: Folder, options: list[str]) -> bool:
    """Keep the lock that was passed on, or take it; it is held until this process ends."""
    for option in options:
        if option.startswith("--lock="):
            os.set_inheritable(int(option.partition("=")[2]), False)
            return True
    return folder.take() is not None
