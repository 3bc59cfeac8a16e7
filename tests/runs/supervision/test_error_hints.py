"""Known causes are recognised in what TensorFlow and the system really print."""

import pytest

from runs.supervision.error_hints import error_hint_of

MESSAGES = [
    (
        "a module of a package that is not there",
        ["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'sklearn'"],
        "imports sklearn",
    ),
    (
        "a part of a package that is not there",
        ["ModuleNotFoundError: No module named 'tensorflow.contrib'"],
        "imports tensorflow.contrib",
    ),
    (
        "a tensor that does not fit on the GPU",
        [
            "W tensorflow/core/common_runtime/bfc_allocator.cc:497] Allocator (GPU_0_bfc) ran out"
            " of memory trying to allocate 9.77GiB (rounded to 10485760000)requested by op Mul",
            "tensorflow.python.framework.errors_impl.ResourceExhaustedError: {{function_node"
            " __wrapped__Mul}} OOM when allocating tensor with shape[51200,51200] and type float"
            " on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc",
        ],
        "memory of the GPU",
    ),
    (
        "a GPU that is full when the program starts",
        [
            "E external/local_xla/xla/stream_executor/cuda/cuda_driver.cc:1040] failed to allocate"
            " 15.47GiB (16609017856 bytes) from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory"
        ],
        "memory of the GPU",
    ),
    (
        "a tensor that does not fit into the machine's memory",
        [
            "ResourceExhaustedError: {{function_node __wrapped__Fill}} OOM when allocating tensor"
            " with shape[400000,400000] and type float on"
            " /job:localhost/replica:0/task:0/device:CPU:0 by allocator cpu [Op:Fill]"
        ],
        "memory that the process may use",
    ),
    ("Python's own want of memory", ["    x = bytearray(10**12)", "MemoryError"], "memory that"),
    (
        "a check of numerics",
        [
            "InvalidArgumentError: Graph execution error:",
            "Gradient for dense/kernel:0 is NaN : Tensor had NaN values",
        ],
        "NaN",
    ),
    (
        "Keras' TerminateOnNaN",
        ["Batch 12: Invalid loss, terminating training"],
        "NaN",
    ),
    (
        "an estimator's NaN",
        [
            "ERROR:tensorflow:Model diverged with loss = NaN.",
            "tensorflow_estimator.python.estimator...NanLossDuringTrainingError: NaN loss during"
            " training.",
        ],
        "NaN",
    ),
    (
        "a worker whose peer is gone",
        [
            "tensorflow.python.framework.errors_impl.UnavailableError: {{function_node"
            " __wrapped__CollectiveReduceV2}} Collective ops is aborted by: failed to connect to"
            " all addresses; last error: UNKNOWN: ipv4:127.0.0.1:23456: Failed to connect to"
            " remote host: Connection refused",
            "Additional GRPC error information from remote target /job:worker/replica:0/task:1:",
        ],
        "could not reach another",
    ),
    (
        "the coordination service's heartbeat",
        [
            "F external/local_tsl/tsl/...coordination_service_agent: UNAVAILABLE: Task"
            " /job:worker/replica:0/task:1 heartbeat timeout. This indicates that the remote task"
            " has failed, got preempted, or crashed unexpectedly."
        ],
        "could not reach another",
    ),
    (
        "NCCL",
        [
            "InternalError: NCCL: unhandled system error. Set NCCL_DEBUG=WARN for detail.",
            "UnavailableError: Collective ops is aborted by: NCCL: unhandled system error",
        ],
        "NCCL",
    ),
    (
        "a port in use, told by gRPC",
        [
            "E0000 add_port.cc:83] Failed to add port to server: No address added out of total 1"
            " resolved for '[::]:20222': Address already in use",
            "UnknownError: Could not start gRPC server",
        ],
        "port",
    ),
    ("a port in use, told by Python", ["OSError: [Errno 98] Address already in use"], "port"),
    (
        "a full disk, told by a checkpoint",
        [
            "tensorflow.python.framework.errors_impl.ResourceExhaustedError: outputs/ckpt-1.data;"
            " No space left on device"
        ],
        "disk",
    ),
    ("a full disk, told by Python", ["OSError: [Errno 28] No space left on device"], "disk"),
]


@pytest.mark.parametrize(
    ("lines", "said"), [m[1:] for m in MESSAGES], ids=[message[0] for message in MESSAGES]
)
def test_a_known_cause_is_put_into_plain_words(lines, said):
    cause = error_hint_of(lines, exit_code=1)
    assert cause is not None
    assert said in cause.title
    assert cause.remedy


def test_a_kill_for_memory_needs_no_words():
    cause = error_hint_of(["Epoch 3/10"], exit_code=137, out_of_memory=True)
    assert cause is not None
    assert "memory" in cause.title


@pytest.mark.parametrize(
    "lines",
    [
        ["Epoch 3/10 - loss: 0.3 - accuracy: 0.91", "ValueError: no such layer"],
        ["loss: 0.31, learning rate: 0.01, inference: 3 ms", "KeyError: 'pixels'"],
        ["WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"],
        [],
    ],
)
def test_what_is_not_known_is_left_to_the_log(lines):
    assert error_hint_of(lines, exit_code=1) is None
    assert error_hint_of(lines, exit_code=137) is None
