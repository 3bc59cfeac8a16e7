"""The command line: what is taken, what is refused, and in which words."""

import pytest

from deploy.modelserver.flags import IGNORED_FLAGS, FlagError, parse_flags, usage

NEEDED = ["--rest_api_port=8501", "--model_base_path=/models/m"]


def test_the_defaults_are_those_of_tensorflow_model_server() -> None:
    flags = parse_flags(NEEDED)

    assert flags.host == "0.0.0.0"  # noqa: S104
    assert flags.model_name == "default"
    assert flags.rest_api_timeout_in_ms == 30_000
    assert flags.file_system_poll_wait_seconds == 1
    assert flags.max_num_load_retries == 5
    assert flags.enable_model_warmup is True


@pytest.mark.parametrize(
    ("written", "read"),
    [("", True), ("=true", True), ("=false", False), ("=1", True), ("=0", False)],
)
def test_switches_may_stand_alone_or_have_a_value(written: str, read: bool) -> None:
    flags = parse_flags([*NEEDED, f"--rest_api_enable_cors_support{written}"])

    assert flags.rest_api_enable_cors_support is read


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--no_such_flag=1", "unknown argument: --no_such_flag=1"),
        ("-x", "unknown argument: -x"),
        ("model", "unknown argument: model"),
        ("--model_name", "write --model_name=VALUE"),
        ("--rest_api_num_threads=many", "Couldn't interpret value many for flag"),
        ("--rest_api_num_threads=0", "--rest_api_num_threads and --grpc_max_threads must be at"),
        ("--grpc_max_threads=0", "--rest_api_num_threads and --grpc_max_threads must be at"),
        ("--rest_api_port=70000", "--rest_api_port must be a port from 1 to 65535"),
        ("--port=-1", "--port must be a port from 1 to 65535"),
        ("--batching_parameters_file=/x", "is set without setting server_options.enable_batching"),
        ("--rest_api_timeout_in_ms=-1", "must not be less than 0"),
        ("--enable_model_warmup=maybe", "Couldn't interpret value maybe"),
        ("--model_name=a/b", "--model_name must not be empty"),
        ("--model_base_path=relative/path", "to have an absolute path"),
        ("--model_base_path=", "server_options.model_config_file are empty!"),
    ],
)
def test_what_cannot_be_meant_is_refused(argument: str, message: str) -> None:
    with pytest.raises(FlagError, match=message.replace("(", r"\(").replace("*", r"\*")):
        parse_flags([*NEEDED, argument])


def test_grpc_has_the_originals_port_unless_another_is_named() -> None:
    assert parse_flags(NEEDED).port == 8500
    assert parse_flags([*NEEDED, "--port=0"]).port == 0


def test_something_must_listen() -> None:
    with pytest.raises(FlagError, match="give --rest_api_port, --port or --grpc_socket_path"):
        parse_flags([*NEEDED, "--rest_api_port=0", "--port=0"])


def test_all_three_kinds_of_parallelism_together_are_refused() -> None:
    three = [f"--tensorflow_{kind}_parallelism=2" for kind in ("session", "intra_op", "inter_op")]

    with pytest.raises(FlagError, match="--tensorflow_session_parallelism"):
        parse_flags([*NEEDED, *three])
    assert parse_flags([*NEEDED, *three[1:]]).intra_op_threads == 2
    assert parse_flags([*NEEDED, three[0]]).inter_op_threads == 2


def test_documented_flags_that_change_nothing_are_taken_and_remembered() -> None:
    values = {str: "/some/file", bool: "true"}
    given = [f"--{name}={values[kind]}" for name, kind in IGNORED_FLAGS.items()]

    assert set(parse_flags([*NEEDED, *given]).ignored) == set(IGNORED_FLAGS)
    assert parse_flags([*NEEDED, "--enable_profiler=false"]).ignored == ()


def test_the_usage_names_every_flag() -> None:
    text = usage()

    for name in ("rest_api_port", "model_base_path", "port", *IGNORED_FLAGS):
        assert f"--{name}" in text


def test_every_flag_that_users_of_tensorflow_model_server_know_is_taken() -> None:
    values = {
        "port": "8500",
        "grpc_socket_path": "/run/models.sock",
        "grpc_channel_arguments": "grpc.max_concurrent_streams=100",
        "grpc_max_threads": "8",
        "enable_grpc_healthcheck_service": "true",
        "ssl_config_file": "/etc/ssl.config",
        "rest_api_port": "8501",
        "rest_api_num_threads": "8",
        "rest_api_timeout_in_ms": "1000",
        "rest_api_enable_cors_support": "true",
        "model_name": "m",
        "model_base_path": "/models/m",
        "model_config_file": "/etc/models.config",
        "model_config_file_poll_wait_seconds": "60",
        "file_system_poll_wait_seconds": "-1",
        "allow_version_labels_for_unavailable_models": "true",
        "max_num_load_retries": "0",
        "load_retry_interval_micros": "3000000000",
        "num_load_threads": "2",
        "num_unload_threads": "2",
        "enable_batching": "true",
        "batching_parameters_file": "/etc/batching.config",
        "enable_per_model_batching_parameters": "true",
        "monitoring_config_file": "/etc/monitoring.config",
        "enable_model_warmup": "false",
        "num_request_iterations_for_warmup": "3",
        "enable_signature_method_name_check": "true",
        "enable_serialization_as_tensor_content": "true",
        "tensorflow_intra_op_parallelism": "1",
        "tensorflow_inter_op_parallelism": "1",
        "tensorflow_session_config_file": "/etc/session.config",
        "per_process_gpu_memory_fraction": "0.5",
        "saved_model_tags": "serve,gpu",
        "mixed_precision": "bfloat16",
    }

    flags = parse_flags([f"--{name}={value}" for name, value in values.items()])

    read = {name: getattr(flags, name) for name in values}
    assert {name: str(value).lower() for name, value in read.items()} == values
