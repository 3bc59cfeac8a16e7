"""Trying this machine, step by step, as a target without containers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from workspace.compute import local_machine
from workspace.compute.trial import Failed, Skipped, Step, walk

LEAST_FREE_BYTES = 10 * 10**9


def try_machine(home: str) -> Iterator[list[Step]]:
    """Try what a run on this machine needs."""
    node = local_machine.look()

    def resources() -> str:
        memory = node.memory_bytes / 1e9
        return f"{node.name} has {node.cpus:g} CPUs and {memory:.1f} GB of memory."

    def gpus() -> str:
        if not node.gpus:
            raise Skipped("nvidia-smi finds none, so runs with GPUs cannot go here.")
        models = sorted({gpu.model for gpu in node.gpus})
        return f"{len(node.gpus)}: {', '.join(models)}, driver {node.gpus[0].driver}."

    def tools() -> str:
        if shutil.which("mpirun") is None:
            raise Skipped("mpirun is not installed, so MPI runs cannot go here.")
        return "mpirun is installed."

    def disk() -> str:
        free = shutil.disk_usage(Path(home)).free
        if free < LEAST_FREE_BYTES:
            raise Failed(
                f"{free / 1e9:.1f} GB are free where TRAINYARD_HOME is.",
                f"Keep {LEAST_FREE_BYTES / 1e9:.0f} GB free: an environment takes 2 to 6 GB.",
            )
        return f"{free / 1e9:.1f} GB are free where TRAINYARD_HOME is."

    yield from walk(
        [
            ("What the machine has", resources),
            ("GPUs", gpus),
            ("MPI", tools),
            ("Room on the disk", disk),
        ]
    )
