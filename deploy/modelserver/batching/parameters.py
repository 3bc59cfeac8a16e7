"""What a batching_parameters_file says, in tensorflow_model_server's terms."""

import os
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ..errors import invalid
from ..textproto import read_text_proto

PER_MODEL_FILE = "batching_params.pbtxt"


@dataclass(frozen=True, slots=True)
class BatchingParameters:
    """How requests are gathered; the fields' names are those of the file."""

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    @property
    def execution_size(self) -> int:
        """The most rows of one run."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size:
            return self.max_execution_batch_size
        return self.max_batch_size

    def rounded(self, size: int) -> int:
        """Return the size that a batch of this many rows is padded to."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def read_parameters(path: Path) -> BatchingParameters:
    """Read a file; values that make no sense are refused by `check`."""
    given = read_text_proto(path, "BatchingParameters")
    wrapped = (
        "max_batch_size",
        "batch_timeout_micros",
        "max_enqueued_batches",
        "num_batch_threads",
        "thread_pool_name",
        "enable_large_batch_splitting",
        "max_execution_batch_size",
    )
    values = {name: getattr(given, name).value for name in wrapped if given.HasField(name)}
    return BatchingParameters(
        **values,
        allowed_batch_sizes=tuple(given.allowed_batch_sizes),
        pad_variable_length_inputs=given.pad_variable_length_inputs,
    )


def check(parameters: BatchingParameters) -> None:
    """Refuse parameters that no model can be served with."""
    for name in ("max_batch_size", "num_batch_threads", "max_enqueued_batches"):
        value = getattr(parameters, name)
        if value < 1:
            raise invalid(f"{name} must be positive; was {value}")
    if parameters.batch_timeout_micros < 0:
        raise invalid(
            f"batch_timeout_micros must be non-negative; was {parameters.batch_timeout_micros}"
        )
    limit = parameters.execution_size
    if not 0 < limit <= parameters.max_batch_size:
        raise invalid(
            "max_execution_batch_size must be positive and not more than max_batch_size;"
            f" was {limit}, max_batch_size {parameters.max_batch_size}"
        )
    sizes = parameters.allowed_batch_sizes
    if not sizes:
        return
    if any(later <= earlier for earlier, later in pairwise(sizes)):
        raise invalid("allowed_batch_sizes entries must be monotonically increasing")
    if sizes[0] < 1:
        raise invalid(f"allowed_batch_sizes must be positive; was {sizes[0]}")
    if sizes[-1] != limit:
        splits = parameters.enable_large_batch_splitting
        name = "max_execution_batch_size" if splits else "max_batch_size"
        must = "be equal to" if splits else "match"
        raise invalid(
            f"Last entry in allowed_batch_sizes must {must} {name};"
            f" last entry was {sizes[-1]}; expected {limit}"
        )
