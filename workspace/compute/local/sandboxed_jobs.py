"""Sandboxed jobs on this machine: a process with limits, without network, on its own folders."""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workspace.compute import confinement
from workspace.compute.builds.build_log import BuildLog
from workspace.compute.local.commands import run
from workspace.compute.sandboxed_job import JobTimedOut, SandboxedJob


def run_on_this_machine(
    home: Path, environment: Path, job: SandboxedJob, log: Callable[[bytes], Any]
) -> int:
    """Run a job with the Python of a virtualenv; return its exit code. Raises JobTimedOut.

    It may read nothing of the installation at `home`, and write its own folders alone.
    """
    deadline = time.monotonic() + job.seconds

    def say(chunk: bytes) -> None:
        log(chunk)
        if time.monotonic() > deadline:
            raise JobTimedOut

    python = environment / "bin" / "python"
    scratch = Path(tempfile.mkdtemp(prefix=".job-", dir=job.target.parent))
    allowed = confinement.of_job(
        home, environment, reads=(job.program, job.source), writes=(job.target, scratch)
    )
    limits = {
        "RLIMIT_DATA": job.memory_bytes,
        "RLIMIT_CPU": int(job.seconds * job.cpus),
        "RLIMIT_FSIZE": job.file_bytes,
        "RLIMIT_CORE": 0,
    }
    try:
        return run(
            replace(allowed, limits=limits).command(
                [str(python), "-I", *map(str, (job.program, job.source, job.target))]
            ),
            scratch,
            BuildLog(say),
            only={
                "PATH": f"{python.parent}:/usr/bin:/bin",
                "HOME": str(scratch),
                "TMPDIR": str(scratch),
                "LANG": "C.UTF-8",
                "OMP_NUM_THREADS": str(max(1, int(job.cpus))),
            },
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
