"""A server of several models: its configuration file, read once or followed."""

import shutil
from pathlib import Path

import pytest

from tests.waiting import wait_for

from ..fixtures import StartServer
from ..serving import ModelServer

pytestmark = pytest.mark.tensorflow

PLATFORM = 'model_platform: "tensorflow"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "INVALID_ARGUMENT: Invalid protobuf file: '"),
        ('model_config_list { config { nam: "a" } }', 'has no field named "nam"'),
        ("model_config_list { config { name: 3 } }", "Expected string but found: '3'"),
        (
            f'model_config_list {{ config {{ name: "a" base_path: "/a" {PLATFORM} }}'
            f' config {{ name: "a" base_path: "/b" {PLATFORM} }} }}',
            "INVALID_ARGUMENT: Illegal to list model a multiple times in config list",
        ),
        (
            f'model_config_list {{ config {{ name: "a" base_path: "models/a" {PLATFORM} }} }}',
            "Expected model a to have an absolute path or URI; got base_path()=models/a",
        ),
        (
            f'model_config_list {{ config {{ name: "a" {PLATFORM} }} }}',
            "Expected model a to have an absolute path or URI; got base_path()=\n",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" } }',
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "onnx" } }',
            "INVALID_ARGUMENT: Model a requests unsupported platform onnx",
        ),
        (
            f'model_config_list {{ config {{ base_path: "/a" {PLATFORM} }} }}',
            "A model of the config list has no name",
        ),
        (
            f'model_config_list {{ config {{ name: "a" base_path: "/a\\000b" {PLATFORM} }} }}',
            "The base_path of model a has a null character in it",
        ),
        ("custom_model_config { }", "ModelServer does not yet support custom model config."),
        (
            f'model_config_list {{ config {{ name: "a" base_path: "/a" {PLATFORM}'
            ' version_labels { key: "stable" value: 1 } } }',
            "FAILED_PRECONDITION: Request to assign label to version 1 of model a, which is not"
            " currently available for inference",
        ),
    ],
    ids=[
        "no message",
        "an unknown field",
        "a wrong type",
        "a name twice",
        "a relative path",
        "no path",
        "no platform",
        "an unknown platform",
        "no name",
        "a null character",
        "a custom config",
        "a label without the flag",
    ],
)
def test_a_wrong_file_fails_the_start_in_tensorflow_servings_words(
    start_server: StartServer, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "models.config"
    file.write_text(text)

    server = start_server(f"--model_config_file={file}")

    assert server.wait_for_exit() == 255
    assert "Failed to start server. Error: " in server.log_text()
    assert message in server.log_text()
    assert "Traceback" not in server.log_text()


def test_a_file_that_is_not_there_fails_the_start(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(f"--model_config_file={tmp_path / 'nowhere'}")

    assert server.wait_for_exit() == 255
    assert f"Error: NOT_FOUND: {tmp_path / 'nowhere'}; No such file" in server.log_text()


class Followed:
    """A server that follows a configuration file."""

    def __init__(self, server: ModelServer, file: Path, models: Path) -> None:
        self.server = server
        self.file = file
        self.models = models

    def configure(self, *entries: str) -> None:
        """Replace the file at once, with commas and colons as people write them."""
        self.replace("model_config_list: {" + ",".join(f"config: {{{e}}}" for e in entries) + "}")

    def replace(self, text: str) -> None:
        arriving = self.file.with_suffix(".new")
        arriving.write_text(text)
        arriving.rename(self.file)

    def line(self, policy: str, **labels: int) -> str:
        """Configure the line model; its versions 1 and 2 add 2 and 3."""
        labelled = "".join(
            f', version_labels {{ key: "{label}" value: {number} }}'
            for label, number in labels.items()
        )
        path = self.models / "line"
        return (
            f'name: "line", base_path: "{path}", {PLATFORM},'
            f" model_version_policy: {{ {policy} }}{labelled}"
        )

    def zoo(self) -> str:
        return f'name: "zoo", base_path: "{self.models / "zoo"}", model_type: TENSORFLOW'

    def answer(self, path: str) -> object:
        answer = self.server.post(f"/v1/models/{path}:predict", {"instances": [2]})
        return answer.json["predictions"][0] if answer.status == 200 else answer.status

    def states(self, model: str) -> dict[str, str]:
        listed = self.server.get(f"/v1/models/{model}").json["model_version_status"]
        return {entry["version"]: entry["state"] for entry in listed}


@pytest.fixture
def followed(start_server: StartServer, saved_models: Path, tmp_path: Path) -> Followed:
    models = tmp_path / "models"
    for name in ("line", "zoo"):
        shutil.copytree(saved_models / name, models / name)
    followed = Followed(None, tmp_path / "models.config", models)  # type: ignore[arg-type]
    followed.configure(followed.line("specific { versions: 1 }", stable=1))
    followed.server = start_server(
        f"--model_config_file={followed.file}",
        "--model_config_file_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models",
        "--model_name=ignored",
        "--num_load_threads=2",
    ).wait_until_ready()
    return followed


def test_a_followed_file_adds_moves_and_removes_models_while_the_server_answers(
    followed: Followed,
) -> None:
    server = followed.server
    assert followed.answer("line") == 3.0
    assert followed.answer("line/labels/stable") == 3.0
    assert followed.answer("line/versions/2") == 404
    assert followed.answer("line/labels/canary") == 400
    assert followed.answer("ignored") == 404

    # A second version, named before it has loaded, and a second model.
    followed.configure(
        followed.line("all { }", stable=1, canary=2),
        followed.zoo(),
    )
    wait_for(lambda: followed.answer("line/labels/canary") == 4.0, "version 2 behind its label")
    wait_for(lambda: server.get("/v1/models/zoo/metadata").status == 200, "the second model")
    assert followed.answer("line/labels/stable") == 3.0
    assert followed.answer("line") == 4.0
    assert followed.states("line") == {"2": "AVAILABLE", "1": "AVAILABLE"}
    assert server.get("/v1/models/line/labels/stable/metadata").json["model_spec"] == {
        "name": "line",
        "signature_name": "",
        "version": "1",
    }

    # What is wrong with the file is logged once, and changes nothing.
    followed.replace("model_config_list { config {")
    wait_for(lambda: "Invalid protobuf file" in server.log_text(), "the mistake in the log")
    followed.configure(followed.line("latest { num_versions: 1 }", stable=7))
    wait_for(lambda: "assign label to version 7" in server.log_text(), "the label in the log")
    followed.replace("custom_model_config { }")
    wait_for(lambda: "Cannot transition to requested config" in server.log_text(), "the refusal")
    assert followed.answer("line/labels/stable") == 3.0
    assert server.get("/v1/models/zoo/metadata").status == 200
    assert server.log_text().count("Invalid protobuf file") == 1

    # One label moves, one goes, and so do a version and a model.
    followed.configure(followed.line("latest { num_versions: 1 }", stable=2))
    wait_for(lambda: followed.answer("line/labels/stable") == 4.0, "the label to move")
    wait_for(lambda: followed.states("zoo") == {"3": "END"}, "the second model to go")
    wait_for(lambda: followed.states("line") == {"2": "AVAILABLE", "1": "END"}, "version 1 to go")
    assert followed.answer("line/labels/canary") == 400
    assert server.get("/v1/models/zoo/metadata").status == 404
    assert server.get("/readyz").status == 200


def test_a_session_is_made_as_its_file_says_and_flags_in_vain_are_named(
    start_server: StartServer, saved_models: Path, tmp_path: Path
) -> None:
    file = tmp_path / "session.config"
    file.write_text("intra_op_parallelism_threads: many")
    flags = (
        f"--tensorflow_session_config_file={file}",
        "--model_name=line",
        f"--model_base_path={saved_models / 'line'}",
        "--mixed_precision=bfloat16",
        "--platform_config_file=/some/file",
    )
    refused = start_server(*flags)
    assert refused.wait_for_exit() == 255
    assert "Error: INVALID_ARGUMENT: Invalid protobuf file: '" in refused.log_text()

    file.write_text('intra_op_parallelism_threads: 1, device_count { key: "CPU" value: 1 }')
    server = start_server(*flags).wait_until_ready()

    assert server.post("/v1/models/line:predict", {"instances": [2]}).json == {"predictions": [4.0]}
    assert "--platform_config_file has no effect in this server" in server.log_text()
