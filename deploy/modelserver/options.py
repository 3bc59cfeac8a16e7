"""What the flags, and the files that they name, ask of sessions and of monitoring."""

from pathlib import Path

from .batching.parameters import BatchingParameters, read_parameters
from .batching.queue import BatchingOptions
from .flags import ServerFlags
from .loading.savedmodel import SessionOptions, import_tensorflow
from .monitoring import Metrics, MonitoringConfig, read_monitoring_config
from .textproto import read_text_file


def monitoring_config(flags: ServerFlags) -> MonitoringConfig:
    """Return where Prometheus may ask, if it may."""
    if not flags.monitoring_config_file:
        return MonitoringConfig()
    return read_monitoring_config(Path(flags.monitoring_config_file))


def session_options(flags: ServerFlags, metrics: Metrics) -> SessionOptions:
    """Return how every version is loaded and run."""
    return SessionOptions(
        tags=tuple(tag for tag in flags.saved_model_tags.split(",") if tag),
        config=_session_config(flags.tensorflow_session_config_file),
        intra_op_threads=flags.intra_op_threads,
        inter_op_threads=flags.inter_op_threads,
        gpu_memory_fraction=flags.per_process_gpu_memory_fraction,
        bfloat16=flags.mixed_precision == "bfloat16",
        run_timeout_ms=flags.rest_api_timeout_in_ms,
        check_methods=flags.enable_signature_method_name_check,
        warm_up=flags.enable_model_warmup,
        warm_up_iterations=max(1, flags.num_request_iterations_for_warmup),
        batching=_batching(flags, metrics),
        metrics=metrics,
    )


def _batching(flags: ServerFlags, metrics: Metrics) -> BatchingOptions | None:
    if not flags.enable_batching:
        return None
    file = flags.batching_parameters_file
    parameters = read_parameters(Path(file)) if file else BatchingParameters()
    return BatchingOptions(
        parameters, metrics, per_model=flags.enable_per_model_batching_parameters
    )


def _session_config(file: str) -> bytes:
    """Read a ConfigProto that is written as text."""
    if not file:
        return b""
    import_tensorflow()
    from tensorflow.core.protobuf import config_pb2

    config: bytes = read_text_file(Path(file), config_pb2.ConfigProto()).SerializeToString()
    return config
