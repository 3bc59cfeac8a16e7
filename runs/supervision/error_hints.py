"""What a failure's own words say of its cause, for those who do not know them. Pure data."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from runner.constants import KILLED
from runs.preflight.ignored_files import ignored_module, way_to_include


@dataclass(frozen=True)
class ErrorHint:
    """What went wrong in a plain sentence, and what helps."""

    title: str
    remedy: str


@dataclass(frozen=True)
class _HintRule:
    words: re.Pattern[str]
    cause: ErrorHint


def _rule(words: str, title: str, remedy: str) -> _HintRule:
    return _HintRule(re.compile(words, re.IGNORECASE), ErrorHint(title, remedy))


KERNEL_KILLED = ErrorHint(
    "The process was killed because it, or its machine, had no memory left.",
    "Request more with memory_gb, or use less: a smaller batch, a smaller shuffle buffer,"
    " no cache() of the whole dataset.",
)
NO_MODULE = re.compile(r"no module named '(?P<what>[\w.]+)'", re.IGNORECASE)
# The more telling comes first: where memory ends, gRPC and NCCL complain as well.
HINT_RULES = [
    _rule(
        NO_MODULE.pattern,
        "The program imports {what}, which its environment does not have.",
        "Add the package to pip_packages or to the requirements file; a module of your own"
        " must lie in the source directory.",
    ),
    _rule(
        r"it must have one \"chief\" node",
        "The program uses tf.estimator, whose cluster needs a chief, and there is none.",
        "Set chief to true in distributed_training.",
    ),
    _rule(
        r"CUDA_ERROR_OUT_OF_MEMORY|cudaMalloc failed|failed to allocate \S+ .*device"
        r"|OOM when allocating tensor.*/device:GPU|ran out of memory trying to allocate"
        r"|Allocator \(GPU_\d+_bfc\)",
        "The memory of the GPU is full.",
        "Make batches smaller, train in mixed precision, or spread the work over more GPUs."
        " TF_FORCE_GPU_ALLOW_GROWTH=true shows what is really needed.",
    ),
    _rule(
        r"PermissionError: \[Errno 13\] Permission denied: '(?P<what>[^'/][^']*)'"
        r"|\d: (?P<tool>\./[^\s:]+): Permission denied",
        "The program may not execute {what}{tool}, or not write to it.",
        "Start a script with its interpreter, such as `sh {what}{tool}`, or upload the files as a"
        " .tar.gz: a folder from a browser and a zip made on Windows do not say which files are"
        " executable.",
    ),
    _rule(
        r"no space left on device|disk quota exceeded|errno 28\b",
        "The disk of the machine is full.",
        "Remove what is not needed there, such as old environments and checkpoints, or keep"
        " fewer checkpoints.",
    ),
    _rule(
        r"address already in use|errno 98\b|could not start gRPC server|failed to bind",
        "A port that the program wants is in use.",
        "Listen only on the address that TF_CONFIG gives, and start one tf.distribute server"
        " in a process.",
    ),
    _rule(
        r"(?:loss|inf or nan|tensor had|gradient)[^\n]*\b(?:nan|inf)\b|nan loss during training"
        r"|NanLossDuringTrainingError|invalid loss, terminating training",
        "The loss became NaN: training diverged.",
        "Use a smaller learning rate, clip gradients (clipnorm), and look for NaN or very large"
        " values in the data.",
    ),
    _rule(
        r"nccl[^\n]*(?:unhandled|error|timeout|timed out|failed|abort)|ncclSystemError"
        r"|ncclInternalError",
        "NCCL, over which GPUs exchange gradients, could not reach a peer or a device.",
        "Look at the other processes' logs for what came first. NCCL_DEBUG=INFO shows more;"
        " a larger shm_size and NCCL_SOCKET_IFNAME are what most often help.",
    ),
    _rule(
        r"UnavailableError|code=UNAVAILABLE|\bUNAVAILABLE:|failed to connect to all addresses"
        r"|connection reset by peer|connection refused|heartbeat timeout|task .* is not available"
        r"|barrier timed out|deadline exceeded",
        "A process could not reach another one of its cluster.",
        "The other one most often ended first: look at its log. If it did not, its machine or"
        " the network between them failed, for which max_restarts helps.",
    ),
    _rule(
        r"MemoryError\b|std::bad_alloc|OOM when allocating tensor|cannot allocate memory",
        "The memory that the process may use is full.",
        KERNEL_KILLED.remedy,
    ),
]


def _ignored_module_hint(text: str, ignored_files: Mapping[str, str]) -> ErrorHint | None:
    missing = NO_MODULE.search(text)
    path = ignored_module(missing["what"], ignored_files) if missing else ""
    if not missing or not path:
        return None
    rule = ignored_files[path]
    title = f"The program imports {missing['what']}: {path} was left out of the upload by {rule}."
    return ErrorHint(title, way_to_include(rule))


def error_hint_of(
    lines: Sequence[str],
    *,
    exit_code: int | None = None,
    out_of_memory: bool = False,
    ignored_files: Mapping[str, str] = MappingProxyType({}),
) -> ErrorHint | None:
    """Recognise the cause of a failure in the last lines of its process and how that ended."""
    text = "\n".join(lines)
    if hint := _ignored_module_hint(text, ignored_files):
        return hint
    for known in HINT_RULES:
        found = known.words.search(text)
        if found:
            words = found.groupdict(default="")
            return ErrorHint(known.cause.title.format(**words), known.cause.remedy.format(**words))
    return KERNEL_KILLED if out_of_memory and exit_code in (KILLED, None) else None
