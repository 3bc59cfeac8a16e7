"""Connection test of this machine as a target without containers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from workspace.compute.connection_test import ConnectionStep, StepFailed, StepSkipped, run_steps
from workspace.compute.local import machine

MIN_FREE_BYTES = 10 * 10**9


def local_connection_test(home: str) -> Iterator[list[ConnectionStep]]:
    """Check what a run on this machine needs."""
    node = machine.this_node()

    def resources() -> str:
        memory = node.memory_bytes / 1e9
        return f"{node.name} has {node.cpus:g} CPUs and {memory:.1f} GB of memory."

    def gpus() -> str:
        if not node.gpus:
            raise StepSkipped("nvidia-smi finds none, so runs with GPUs cannot go here.")
        models = sorted({gpu.model for gpu in node.gpus})
        return f"{len(node.gpus)}: {', '.join(models)}, driver {node.gpus[0].driver}."

    def tools() -> str:
        if shutil.which("mpirun") is None:
            raise StepSkipped("mpirun is not installed, so MPI runs cannot run here.")
        return "mpirun is installed."

    def disk() -> str:
        free = shutil.disk_usage(Path(home)).free
        if free < MIN_FREE_BYTES:
            raise StepFailed(
                f"{free / 1e9:.1f} GB are free where TRAINYARD_HOME is.",
                f"Keep {MIN_FREE_BYTES / 1e9:.0f} GB free: an environment takes 2 to 6 GB.",
            )
        return f"{free / 1e9:.1f} GB are free where TRAINYARD_HOME is."

    yield from run_steps(
        [
            ("Machine resources", resources),
            ("GPUs", gpus),
            ("MPI", tools),
            ("Disk space", disk),
        ]
    )
