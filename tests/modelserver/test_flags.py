"""The command line: what is taken, what is refused, and in which words."""

import pytest

from deploy.modelserver.flags import NOT_YET, WITHOUT_EFFECT, FlagError, parse_flags, usage

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
        ("--rest_api_num_threads=0", "--rest_api_num_threads must be at least 1"),
        ("--rest_api_port=70000", "--rest_api_port must be a port from 1 to 65535"),
        ("--rest_api_port=0", "give --rest_api_port, --port or --grpc_socket_path"),
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


def test_all_three_kinds_of_parallelism_together_are_refused() -> None:
    three = [f"--tensorflow_{kind}_parallelism=2" for kind in ("session", "intra_op", "inter_op")]

    with pytest.raises(FlagError, match="--tensorflow_session_parallelism"):
        parse_flags([*NEEDED, *three])
    assert parse_flags([*NEEDED, *three[1:]]).intra_op_threads == 2
    assert parse_flags([*NEEDED, three[0]]).inter_op_threads == 2


@pytest.mark.parametrize("name", NOT_YET)
def test_a_flag_for_something_still_missing_says_so(name: str) -> None:
    value = {int: "8500", str: "/some/file", bool: "true"}[NOT_YET[name][0]]

    with pytest.raises(FlagError, match=f"--{name} is not supported yet"):
        parse_flags([*NEEDED, f"--{name}={value}"])


def test_asking_for_nothing_of_what_is_missing_is_fine() -> None:
    nothing = {int: "0", str: "", bool: "false"}

    parse_flags([*NEEDED, *(f"--{name}={nothing[kind]}" for name, (kind, _) in NOT_YET.items())])


def test_documented_flags_that_change_nothing_are_taken() -> None:
    values = {int: "1", bool: "true"}

    parse_flags([*NEEDED, *(f"--{name}={values[kind]}" for name, kind in WITHOUT_EFFECT.items())])


def test_the_usage_names_every_flag() -> None:
    text = usage()

    for name in ("rest_api_port", "model_base_path", *NOT_YET, *WITHOUT_EFFECT):
        assert f"--{name}" in text
