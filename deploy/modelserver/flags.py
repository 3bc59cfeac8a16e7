"""The command line, with tensorflow_model_server's flags and its strictness about them."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_INT32_MAX = 2**31 - 1


class FlagError(Exception):
    """A command line that the server refuses to start with."""


@dataclass(frozen=True)
class ServerFlags:
    """What the server does. Field names are flag names, but for two.

    `ignored`: flags in vain. `may_lack_grpc`: nobody named the gRPC port, so the server does
    without where another has it.
    """

    host: str = "0.0.0.0"  # noqa: S104 (as the original listens)
    port: int = 8500
    grpc_socket_path: str = ""
    grpc_channel_arguments: str = ""
    grpc_max_threads: int = field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    enable_grpc_healthcheck_service: bool = False
    ssl_config_file: str = ""
    rest_api_port: int = 0
    rest_api_num_threads: int = field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    rest_api_timeout_in_ms: int = 30_000
    rest_api_enable_cors_support: bool = False
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: int = 0
    allow_version_labels_for_unavailable_models: bool = False
    saved_model_tags: str = "serve"
    file_system_poll_wait_seconds: int = 1
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    num_load_threads: int = 0
    num_unload_threads: int = 0
    enable_batching: bool = False
    batching_parameters_file: str = ""
    enable_per_model_batching_parameters: bool = False
    monitoring_config_file: str = ""
    enable_signature_method_name_check: bool = False
    enable_serialization_as_tensor_content: bool = False
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    per_process_gpu_memory_fraction: float = 0.0
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    tensorflow_session_config_file: str = ""
    mixed_precision: str = ""
    version: bool = False
    help: bool = False
    ignored: tuple[str, ...] = ()
    may_lack_grpc: bool = False

    @property
    def base_path(self) -> Path:
        return Path(self.model_base_path)

    @property
    def intra_op_threads(self) -> int:
        return self.tensorflow_intra_op_parallelism or self.tensorflow_session_parallelism

    @property
    def inter_op_threads(self) -> int:
        return self.tensorflow_inter_op_parallelism or self.tensorflow_session_parallelism


# Taken and checked for their type; they change nothing that this server does, and it says so.
IGNORED_FLAGS: dict[str, type] = {
    "enable_profiler": bool,
    "flush_filesystem_caches": bool,
    "platform_config_file": str,
    "prefer_tflite_model": bool,
    "remove_unused_fields_from_bundle_metagraph": bool,
    "thread_pool_factory_config_file": str,
}

_EFFECTIVE: dict[str, type] = {
    name: {"str": str, "int": int, "bool": bool, "float": float}[str(kind)]
    for name, kind in (
        (spec.name, getattr(spec.type, "__name__", spec.type))
        for spec in ServerFlags.__dataclass_fields__.values()
        if spec.name not in ("ignored", "may_lack_grpc")
    )
}


def parse_flags(arguments: Sequence[str]) -> ServerFlags:
    """Read `--flag=value` and, for switches, `--flag`; refuse anything else."""
    given: dict[str, str | int | float | bool] = {}
    ignored: list[str] = []
    for argument in arguments:
        found = re.fullmatch(r"--([a-z_]+)(?:=(.*))?", argument, re.DOTALL)
        name, text = found.groups() if found else ("", None)
        if name in IGNORED_FLAGS:
            if _value(name, text, IGNORED_FLAGS[name], argument):
                ignored.append(name)
        elif name in _EFFECTIVE:
            given[name] = _value(name, text, _EFFECTIVE[name], argument)
        else:
            raise FlagError(f"unknown argument: {argument}")
    may_lack_grpc = "port" not in given and bool(given.get("rest_api_port"))
    flags = ServerFlags(**given, ignored=tuple(ignored), may_lack_grpc=may_lack_grpc)  # type: ignore[arg-type]  # each was read as its field's type
    if not (flags.version or flags.help):
        _check(flags)
    return flags


def usage() -> str:
    """List every flag with what becomes of it."""
    lines = ["usage: python -m deploy.modelserver [flags]", "Flags:"]
    for name, kind in _EFFECTIVE.items():
        default = getattr(ServerFlags, name, None)
        shown = f" (default {default!r})" if default not in (None, "") else ""
        lines.append(f"  --{name}={kind.__name__}{shown}")
    lines += [f"  --{name}={kind.__name__} (no effect)" for name, kind in IGNORED_FLAGS.items()]
    return "\n".join(lines)


def _value(name: str, text: str | None, kind: type, argument: str) -> str | int | float | bool:
    if kind is bool:
        switch = {None: True, "true": True, "1": True, "false": False, "0": False}.get(
            text.lower() if text else text
        )
        if switch is None:
            raise FlagError(f"Couldn't interpret value {text} for flag {name}.")
        return switch
    if text is None:
        raise FlagError(f"unknown argument: {argument} (write --{name}=VALUE)")
    if kind is str:
        return text
    try:
        number: int | float = int(text) if kind is int else float(text)
    except ValueError:
        raise FlagError(f"Couldn't interpret value {text} for flag {name}.") from None
    if name != "load_retry_interval_micros" and abs(number) > _INT32_MAX:
        raise FlagError(f"Couldn't interpret value {text} for flag {name}: out of range.")
    return number


def _check(flags: ServerFlags) -> None:
    if not (flags.port or flags.grpc_socket_path or flags.rest_api_port):
        raise FlagError("give --rest_api_port, --port or --grpc_socket_path: nothing listens yet")
    for name, port in (("port", flags.port), ("rest_api_port", flags.rest_api_port)):
        if not 0 <= port < 65536:
            raise FlagError(f"--{name} must be a port from 1 to 65535, or 0 for none")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise FlagError(
            "INVALID_ARGUMENT: server_options.batching_parameters_file is set without setting"
            " server_options.enable_batching to true."
        )
    if flags.rest_api_num_threads < 1 or flags.grpc_max_threads < 1:
        raise FlagError("--rest_api_num_threads and --grpc_max_threads must be at least 1")
    if flags.rest_api_timeout_in_ms < 0 or flags.max_num_load_retries < 0:
        raise FlagError(
            "--rest_api_timeout_in_ms and --max_num_load_retries must not be less than 0"
        )
    parallelism = (
        flags.tensorflow_session_parallelism,
        flags.tensorflow_intra_op_parallelism,
        flags.tensorflow_inter_op_parallelism,
    )
    if all(parallelism):
        raise FlagError(
            "--tensorflow_session_parallelism can't be given together with both"
            " --tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism"
        )
    if min(parallelism) < 0:
        raise FlagError("--tensorflow_*_parallelism must not be less than 0")
    if not 0 <= flags.per_process_gpu_memory_fraction <= 1:
        raise FlagError("--per_process_gpu_memory_fraction must be from 0 to 1")
    if flags.model_config_file:
        return
    if not flags.model_base_path:
        raise FlagError(
            "INVALID_ARGUMENT: Both server_options.model_base_path and"
            " server_options.model_config_file are empty!"
        )
    if not re.fullmatch(r"[^/:]+", flags.model_name):
        raise FlagError("--model_name must not be empty nor contain '/' or ':'")
    if not flags.base_path.is_absolute():
        raise FlagError(
            f"INVALID_ARGUMENT: Expected model {flags.model_name} to have an absolute path or URI;"
            f" got base_path()={flags.model_base_path}"
        )
