"""What NVIDIA's tool is asked for GPUs, and how its answer is read."""

from workspace.compute.base import Gpu

MEBIBYTE = 1024 * 1024
PROGRAM = "nvidia-smi"
QUERY = (
    "--query-gpu=index,uuid,name,memory.total,driver_version",
    "--format=csv,noheader,nounits",
)


def gpus_in(answer: str) -> tuple[Gpu, ...]:
    """Read the answer to QUERY, one GPU a line; lines that say anything else are left out."""
    return tuple(_gpu(line) for line in answer.splitlines() if line.count(",") == 4)


def _gpu(line: str) -> Gpu:
    index, uuid, model, memory, driver = (part.strip() for part in line.split(","))
    size = int(memory) * MEBIBYTE if memory.isdigit() else 0
    return Gpu(int(index), uuid, model, size, driver)
