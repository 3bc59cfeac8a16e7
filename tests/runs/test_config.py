"""A configuration is read strictly: every error at once, each naming its field and the way out."""

import json
from typing import Any

import pytest

from runs.config import RunConfig, parse
from runs.distribution import Mode
from workspace.platform.errors import Invalid

MINIMAL = {"experiment": "digits", "entry_script": "train.py"}


def errors_of(config: object) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        parse(config)
    return {error.field: error.message for error in caught.value.errors}


def test_the_least_that_is_needed_is_an_experiment_and_a_script():
    config = parse(MINIMAL)
    assert (config.mode, config.compute_target) == (Mode.SINGLE, "local")
    assert config.distributed_training.roles() == [("worker", 1)]


def test_every_error_is_told_at_once():
    found = errors_of(
        {
            "experiment": "",
            "entry_script": "../train.py",
            "node_count": 0,
            "use_gpu": "yes",
            "memory_gb": float("inf"),
            "framework_version": "1.13",
            "enviroment_variables": {},
        }
    )
    assert found.keys() == {
        "experiment",
        "entry_script",
        "node_count",
        "use_gpu",
        "memory_gb",
        "framework_version",
        "enviroment_variables",
    }
    assert "did you mean environment_variables" in found["enviroment_variables"]
    assert "2.21, 2.15" in found["framework_version"]


@pytest.mark.parametrize("config", [None, [], "text", 3, True], ids=repr)
def test_what_is_not_an_object_is_refused(config: object):
    assert "JSON object" in errors_of(config)["config"]


@pytest.mark.parametrize("value", [0, -1, 2.5, "two", True, 10**9, [], {}], ids=repr)
def test_a_count_that_is_no_count_is_refused(value: object):
    assert "node_count" in errors_of({**MINIMAL, "node_count": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("experiment", "half \ud800"),
        ("script_params", {"--name": "\udfff"}),
        ("environment_variables", {"NAME": "\ud800"}),
        ("pip_packages", ["numpy \ud800"]),
    ],
)
def test_what_no_file_or_database_can_hold_is_refused(name: str, value: object):
    found = errors_of(MINIMAL | {name: value})
    assert found == {name: "It holds half of a surrogate pair, which is no character."}


def test_the_name_of_a_field_that_nothing_can_hold_is_shown_escaped():
    assert list(errors_of(MINIMAL | {"\ud800": 1})) == ["\\ud800"]


def test_a_field_without_a_name_is_an_error_of_the_whole():
    assert list(errors_of(MINIMAL | {"": "\ud800"})) == ["config"]


def test_the_address_of_the_schema_is_accepted_and_ignored():
    assert parse({**MINIMAL, "$schema": "../run.schema.json"}).to_json() == parse(MINIMAL).to_json()
    assert "$schema" in errors_of({**MINIMAL, "$schema": 3})


def test_null_means_not_given():
    names = {field.validation_alias or name for name, field in RunConfig.model_fields.items()}
    given = dict.fromkeys(map(str, names)) | MINIMAL
    assert parse(given).to_json() == parse(MINIMAL).to_json()


def test_counts_without_a_mode_are_refused_in_azure_mls_words():
    found = errors_of({**MINIMAL, "node_count": 2})
    assert "must be specified when node_count > 1" in found["distributed_training"]


@pytest.mark.parametrize(
    ("given", "roles"),
    [
        ({"type": "multi_worker", "worker_count": 2}, [("worker", 2)]),
        (
            {"type": "parameter_server", "worker_count": 2, "parameter_server_count": 1},
            [("worker", 2), ("ps", 1)],
        ),
        (
            {"type": "parameter_server", "worker_count": 2, "chief": True},
            [("chief", 1), ("worker", 2), ("ps", 1)],
        ),
        (
            {"type": "parameter_server", "chief": True, "evaluator": True},
            [("chief", 1), ("worker", 1), ("ps", 1), ("evaluator", 1)],
        ),
    ],
    ids=["multi-worker", "azure ml", "tf2", "estimator"],
)
def test_each_mode_has_its_roles(given: dict[str, Any], roles: list[tuple[str, int]]):
    assert parse({**MINIMAL, "distributed_training": given}).distributed_training.roles() == roles


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"type": "ring"}, "distributed_training.type"),
        ({"type": "multi_worker", "worker_count": 0}, "distributed_training.worker_count"),
        ({"type": "multi_worker", "parameter_server_count": 1}, None),
        ({"type": "parameter_server", "evaluator": True}, "distributed_training.evaluator"),
        ("mpi", "distributed_training"),
        (
            {"type": "mpi", "process_count_per_node": 1001},
            "distributed_training.process_count_per_node",
        ),
    ],
    ids=str,
)
def test_a_mode_that_means_nothing_is_refused(given: object, field: str | None):
    assert (field or "distributed_training.parameter_server_count") in errors_of(
        {**MINIMAL, "distributed_training": given}
    )


def test_fields_of_another_mode_are_refused_with_those_that_the_mode_has():
    found = errors_of(
        {**MINIMAL, "distributed_training": {"type": "mpi", "worker_count": "2", "chief": True}}
    )
    assert found == {
        "distributed_training.worker_count": "Type mpi has no worker_count; it has"
        " process_count_per_node.",
        "distributed_training.chief": "Type mpi has no chief; it has process_count_per_node.",
    }


def test_counts_beside_the_mode_are_its_defaults():
    multi_worker = parse(
        {**MINIMAL, "node_count": 3, "distributed_training": {"type": "multi_worker"}}
    )
    assert multi_worker.distributed_training.roles() == [("worker", 3)]
    ranks = {"node_count": 2, "process_count_per_node": 4, "distributed_training": {"type": "mpi"}}
    assert parse(MINIMAL | ranks).ranks == 8
    found = errors_of(MINIMAL | ranks | {"node_count": 300})
    assert "1,200 ranks" in found["distributed_training.process_count_per_node"]


@pytest.mark.parametrize(
    ("given", "gpus"),
    [({}, 0), ({"use_gpu": True}, 1), ({"use_gpu": True, "gpus_per_process": 2}, 2)],
)
def test_gpus_are_one_for_each_process_unless_more_are_asked_for(given: dict[str, Any], gpus: int):
    assert parse(MINIMAL | given).gpus_per_process == gpus


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"gpus_per_process": 2}, "use_gpu"),
        ({"use_gpu": True, "gpus_per_process": 0}, "gpus_per_process"),
    ],
)
def test_gpus_that_contradict_use_gpu_are_refused(given: dict[str, Any], field: str):
    assert field in errors_of(MINIMAL | given)


def test_rules_between_fields_hold_when_other_fields_are_wrong():
    found = errors_of(
        {
            "experiment": "",
            "node_count": 2,
            "gpus_per_process": 2,
            "conda_dependencies_file": "conda.yml",
            "pip_packages": ["six"],
            "image_registry_details": {"username": "ana"},
        }
    )
    assert found.keys() == {
        "experiment",
        "entry_script",
        "distributed_training",
        "use_gpu",
        "pip_packages",
        "image_registry_details",
        "image_registry_details.password",
    }


def test_script_params_become_arguments_as_azure_ml_flattens_them():
    params = {"--epochs": 3, "--layers": [64, 32], "--flag": "", "--none": None, "--zero": 0}
    config = parse({**MINIMAL, "script_params": params})
    expected = ["--epochs", "3", "--layers", "64", "32", "--flag", "--none", "--zero", "0"]
    assert config.arguments() == expected


def test_arguments_are_passed_as_they_are():
    nasty = "a b 'c' \"d\" $(id)\n-x"
    assert parse({**MINIMAL, "script_params": {"--x": nasty}}).arguments() == ["--x", nasty]
    assert "script_params.--x" in errors_of({**MINIMAL, "script_params": {"--x": "a\0b"}})
    assert "script_params.--x" in errors_of({**MINIMAL, "script_params": {"--x": {}}})
    assert "script_params.--x" in errors_of({**MINIMAL, "script_params": {"--x": float("nan")}})


@pytest.mark.parametrize("name", ["TF_CONFIG", "TRAINYARD_ROLE", "A=B", "", "1A", "A B"])
def test_variables_that_would_break_the_runner_are_refused(name: str):
    found = errors_of({**MINIMAL, "environment_variables": {name: "1"}})
    assert f"environment_variables.{name}" in found


def test_other_variables_are_the_users_business():
    config = parse({**MINIMAL, "environment_variables": {"LD_PRELOAD": "/x.so", "N": 3}})
    assert config.environment_variables == {"LD_PRELOAD": "/x.so", "N": "3"}


def test_what_is_not_built_yet_is_said_so():
    found = errors_of({**MINIMAL, "inputs": ["x"]})
    assert "datasets" in found["inputs"]


def test_a_configuration_survives_the_database():
    config = parse(
        {
            **MINIMAL,
            "distributed_training": {"type": "parameter_server", "chief": True},
            "pip_packages": ["scikit-learn==1.7"],
            "script_params": {"--zeta": 1, "--alpha": [2, 3]},
        }
    )
    stored = json.loads(json.dumps(config.to_row(), sort_keys=True))
    assert RunConfig.from_row(stored) == config
    assert RunConfig.from_row(stored).arguments() == ["--zeta", "1", "--alpha", "2", "3"]


def test_secrets_are_named_and_survive_the_database():
    given = {"KEY": {"secret": "aws-key"}, "ACCOUNT": {"secret": "gcp", "file": "account.json"}}
    config = parse({**MINIMAL, "secrets": given})
    assert config.to_json()["secrets"] == {
        "KEY": {"secret": "aws-key", "file": ""},
        "ACCOUNT": {"secret": "gcp", "file": "account.json"},
    }
    assert RunConfig.from_row(json.loads(json.dumps(config.to_row()))) == config


@pytest.mark.parametrize(
    ("secrets", "field", "words"),
    [
        ({"1A": {"secret": "key"}}, "secrets.1A", "starts with no digit"),
        ({"TF_CONFIG": {"secret": "key"}}, "secrets.TF_CONFIG", "set by Trainyard"),
        ({"A": "key"}, "secrets.A", "a JSON object"),
        ({"A": {}}, "secrets.A.secret", "secret is required"),
        ({"A": {"secret": "a b"}}, "secrets.A.secret", "Use 1 to 64 letters"),
        ({"A": {"secret": "key", "file": "../x"}}, "secrets.A.file", "Use a file name"),
        ({"A": {"secret": "key", "file": ".."}}, "secrets.A.file", "Use a file name"),
        ({"A": {"secret": "key", "path": "x"}}, "secrets.A.path", "Unknown field"),
        ({"GIVEN": {"secret": "key"}}, "secrets.GIVEN", "in environment_variables too"),
        (
            {"A": {"secret": "a", "file": "x"}, "B": {"secret": "b", "file": "x"}},
            "secrets.B.file",
            "Two secrets have the file x",
        ),
    ],
)
def test_secrets_that_cannot_be_given_are_refused(secrets: dict[str, Any], field: str, words: str):
    found = errors_of({**MINIMAL, "environment_variables": {"GIVEN": "1"}, "secrets": secrets})
    assert list(found) == [field]
    assert words in found[field]


def test_a_configuration_that_an_earlier_version_stored_is_read_as_it_is():
    spread = {
        "type": "mpi",
        "worker_count": 1,
        "parameter_server_count": 0,
        "chief": False,
        "evaluator": False,
        "process_count_per_node": 3,
    }
    row = parse(MINIMAL).to_row() | {"framework_version": "1.15", "distributed_training": spread}
    del row["secrets"]
    config = RunConfig.from_row(json.loads(json.dumps(row)))
    assert (config.framework_version, config.mode, config.ranks) == ("1.15", Mode.MPI, 3)
    assert config.to_json()["distributed_training"] == {
        "type": "mpi",
        "process_count_per_node": 3,
    }


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        (
            {"conda_dependencies_file": "conda.yml", "pip_packages": ["six"]},
            "pip_packages",
            "leave pip_packages out",
        ),
        (
            {"conda_dependencies_file": "conda.yml", "pip_requirements_file": "requirements.txt"},
            "pip_requirements_file",
            "leave pip_requirements_file out",
        ),
        (
            {"conda_dependencies_file": "conda.yml", "conda_packages": ["ffmpeg"]},
            "conda_packages",
            "leave conda_packages out",
        ),
        (
            {"custom_docker_image": "mine:1", "conda_packages": ["ffmpeg"]},
            "conda_packages",
            "put conda packages into the image",
        ),
        (
            {"image_registry_details": {"username": "ana", "password": "p"}},
            "image_registry_details",
            "custom_docker_image",
        ),
        (
            {"custom_docker_image": "mine:1", "image_registry_details": {"username": "ana"}},
            "image_registry_details.password",
            "password is required",
        ),
        ({"custom_docker_image": "-v /:/host"}, "custom_docker_image", "an image's name"),
    ],
)
def test_fields_that_say_twice_what_is_installed_are_refused(given, field: str, words: str):
    assert words in errors_of({**MINIMAL, **given})[field]


def test_the_login_for_an_image_is_read_and_never_written_out():
    config = parse(
        {
            **MINIMAL,
            "custom_docker_image": "team/mine:1",
            "image_registry_details": {
                "address": "registry.example.com",
                "username": "ana",
                "password": "open-sesame",
            },
        }
    )
    assert config.custom_docker_image == "registry.example.com/team/mine:1"
    assert config.image_login is not None
    assert config.image_login.password == "open-sesame"
    assert "open-sesame" not in repr(config) + json.dumps(config.to_row())
    assert RunConfig.from_row(config.to_row()).image_login is None
