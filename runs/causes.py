"""What a failure's own words say of its cause, for those who do not know them. Pure data."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

KILLED = 128 + 9


@dataclass(frozen=True)
class Cause:
    """What went wrong in a plain sentence, and what helps."""

    title: str
    remedy: str


@dataclass(frozen=True)
class _Known:
    words: re.Pattern[str]
    cause: Cause


def _known(words: str, title: str, remedy: str) -> _Known:
    return _Known(re.compile(words, re.IGNORECASE), Cause(title, remedy))


KERNEL_KILLED = Cause(
    "The process was killed because it, or its machine, had no memory left.",
    "Ask for more with memory_gb, or take less: a smaller batch, a smaller shuffle buffer,"
    " no cache() of the whole dataset.",
)
# The more telling comes first: where memory ends, gRPC and NCCL complain as well.
KNOWN = [
    _known(
        r"no module named '(?P<what>[\w.]+)'",
        "The program imports {what}, which its environment does not have.",
        "Add the package to pip_packages or to the requirements file; a module of your own"
        " must lie in the source directory.",
    ),
    _known(
        r"CUDA_ERROR_OUT_OF_MEMORY|cudaMalloc failed|failed to allocate \S+ .*device"
        r"|OOM when allocating tensor.*/device:GPU|ran out of memory trying to allocate"
        r"|Allocator \(GPU_\d+_bfc\)",
        "The memory of the GPU is full.",
        "Make batches smaller, train in mixed precision, or spread the work over more GPUs."
        " TF_FORCE_GPU_ALLOW_GROWTH=true shows what is really needed.",
    ),
    _known(
        r"no space left on device|disk quota exceeded|errno 28\b",
        "The disk of the machine is full.",
        "Remove what is not needed there, such as old environments and checkpoints, or keep"
        " fewer checkpoints.",
    ),
    _known(
        r"address already in use|errno 98\b|could not start gRPC server|failed to bind",
        "A port that the program wants is in use.",
        "Listen only on the address that TF_CONFIG gives, and start one tf.distribute server"
        " in a process.",
    ),
    _known(
        r"(?:loss|inf or nan|tensor had|gradient)[^\n]*\b(?:nan|inf)\b|nan loss during training"
        r"|NanLossDuringTrainingError|invalid loss, terminating training",
        "The loss became NaN: training diverged.",
        "Use a smaller learning rate, clip gradients (clipnorm), and look for NaN or very large"
        " values in the data.",
    ),
    _known(
        r"nccl[^\n]*(?:unhandled|error|timeout|timed out|failed|abort)|ncclSystemError"
        r"|ncclInternalError",
        "NCCL, over which GPUs exchange gradients, could not reach a peer or a device.",
        "Look at the other processes' logs for what came first. NCCL_DEBUG=INFO tells more;"
        " a larger shm_size and NCCL_SOCKET_IFNAME are what most often help.",
    ),
    _known(
        r"UnavailableError|code=UNAVAILABLE|\bUNAVAILABLE:|failed to connect to all addresses"
        r"|connection reset by peer|connection refused|heartbeat timeout|task .* is not available"
        r"|barrier timed out|deadline exceeded",
        "A process could not reach another one of its cluster.",
        "The other one most often ended first: look at its log. If it did not, its machine or"
        " the network between them failed, for which max_restarts helps.",
    ),
    _known(
        r"MemoryError\b|std::bad_alloc|OOM when allocating tensor|cannot allocate memory",
        "The memory that the process may use is full.",
        KERNEL_KILLED.remedy,
    ),
]


def cause_of(
    lines: Sequence[str], *, exit_code: int | None = None, out_of_memory: bool = False
) -> Cause | None:
    """Recognise the cause of a failure in the last lines of its process and how that ended."""
    text = "\n".join(lines)
    for known in KNOWN:
        found = known.words.search(text)
        if found:
            return Cause(known.cause.title.format(**found.groupdict()), known.cause.remedy)
    return KERNEL_KILLED if out_of_memory and exit_code in (KILLED, None) else None
