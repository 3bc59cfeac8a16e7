"""What a compute target has, and what of it is held. Targets on one machine share it."""

from collections.abc import Iterable

from runs.cluster import PlannedProcess
from runs.models import Process
from runs.queue import Share, total
from workspace.compute.base import Node
from workspace.compute.registry import backend_for
from workspace.models import ComputeTarget


def need_of(processes: Iterable[PlannedProcess]) -> Share:
    return total(
        Share(process.cpus or 0.0, process.memory_bytes or 0, process.gpus, 1)
        for process in processes
    )


def capacity_of(target: ComputeTarget, nodes: Iterable[Node] | None = None) -> Share:
    """Give all that a target has, whether held or not."""
    healthy = [node for node in nodes or backend_for(target).check() if node.healthy]
    return Share(
        sum(node.cpus for node in healthy),
        sum(node.memory_bytes for node in healthy),
        sum(len(node.gpus) for node in healthy),
        target.max_processes,
    )


def held_of(target: ComputeTarget) -> Share:
    """Give what living groups hold of the machine that `target` stands for."""
    living = _living(target)
    return total(
        Share(process.cpus or 0.0, process.memory_bytes or 0, len(process.gpus), 1)
        for process in living
    )


def free_gpus(target: ComputeTarget) -> list[str]:
    """Give the identifiers of the GPUs that no living process holds, in order of their index."""
    taken = {gpu for process in _living(target) for gpu in process.gpus}
    gpus = [gpu for node in backend_for(target).check() if node.healthy for gpu in node.gpus]
    return [gpu.uuid for gpu in sorted(gpus, key=lambda gpu: gpu.index) if gpu.uuid not in taken]


def _living(target: ComputeTarget) -> list[Process]:
    return list(
        Process.objects.filter(group__removed_at=None, group__target__kind=target.kind).only(
            "cpus", "memory_bytes", "gpus"
        )
    )
