"""Errands on this machine: a process with limits and without network; its files are ours."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workspace.compute.build_log import BuildLog
from workspace.compute.errand import Errand, TooLong
from workspace.compute.local_commands import run

START = Path(__file__).with_name("errand_start.py")


def run_here(environment: Path, errand: Errand, log: Callable[[bytes], Any]) -> int:
    """Run an errand with the Python of a virtualenv; give its exit code. Raises TooLong."""
    deadline = time.monotonic() + errand.seconds

    def say(chunk: bytes) -> None:
        log(chunk)
        if time.monotonic() > deadline:
            raise TooLong

    limits = {
        "memory_bytes": errand.memory_bytes,
        "cpu_seconds": int(errand.seconds * errand.cpus),
        "file_bytes": errand.file_bytes,
    }
    python = environment / "bin" / "python"
    home = Path(tempfile.mkdtemp(prefix=".errand-", dir=errand.target.parent))
    try:
        return run(
            [
                str(python),
                "-I",
                str(START),
                json.dumps(limits),
                *map(str, (errand.program, errand.source, errand.target)),
            ],
            home,
            BuildLog(say),
            only={
                "PATH": f"{python.parent}:/usr/bin:/bin",
                "HOME": str(home),
                "TMPDIR": str(home),
                "LANG": "C.UTF-8",
                "OMP_NUM_THREADS": str(max(1, int(errand.cpus))),
            },
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)
