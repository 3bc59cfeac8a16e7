"""Editors and the OpenAPI document know every field of a run's configuration, as it is read."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from runs.config import RunConfig, parse
from tests.factories import bearer, make_run
from workspace.models import Team
from workspace.platform.errors import Invalid

ADDRESS = "/api/v1/schemas/run.json"
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
MINIMAL = {"experiment": "digits", "entry_script": "train.py"}
# What a schema cannot know: the fields that need each other, and where values come from.
INVALID: list[dict[str, Any]] = [
    {"experiment": ""},
    {"experiment": "x" * 101},
    {"experiment": None},
    {"entry_script": ""},
    {"node_count": 0},
    {"node_count": 1001},
    {"node_count": "2"},
    {"use_gpu": "yes"},
    {"gpus_per_process": 65},
    {"cpus_per_process": 0},
    {"memory_gb": 1e7},
    {"framework_version": "1.13"},
    {"enviroment_variables": {}},
    {"environment_variables": {"A=B": "1"}},
    {"environment_variables": {"TF_CONFIG": "1"}},
    {"environment_variables": {"TRAINYARD_ROLE": "1"}},
    {"environment_variables": {"A": True}},
    {"script_params": {"--x": {}}},
    {"script_params": {"--x": [[1]]}},
    {"script_params": []},
    {"pip_packages": "six"},
    {"pip_packages": [1]},
    {"shm_size": "2 GB"},
    {"custom_docker_image": "-v /:/host"},
    {"image_registry_details": {"username": "ana"}},
    {"distributed_training": "mpi"},
    {"distributed_training": {"type": "ring"}},
    {"distributed_training": {"worker_count": 2}},
    {"distributed_training": {"type": "multi_worker", "worker_count": 0}},
    {"distributed_training": {"type": "multi_worker", "parameter_server_count": 1}},
    {"distributed_training": {"type": "mpi", "worker_count": 2}},
    {"distributed_training": {"type": "mpi", "workers": 2}},
    {"resume_from": 0},
    {"restart_on": "always"},
    {"max_run_duration_seconds": 90 * 24 * 3600 + 1},
    {"priority": 101},
    {"inputs": ["x"]},
]
VALID: list[dict[str, Any]] = [
    {},
    {"$schema": "../run.schema.json"},
    {"script_params": {"--a": 1, "--b": 1.5, "--c": True, "--d": None, "--e": ["x", 2]}},
    {"environment_variables": {"LD_PRELOAD": "/x.so", "N": 3, "TRAINYARD": "x", "TF_CONFIGS": "x"}},
    {"cpus_per_process": None, "priority": -100, "resume_from": 3, "shm_size": "512M"},
    {"distributed_training": {}},
    {"distributed_training": {"type": "single"}},
    {"distributed_training": {"type": "multi_worker", "worker_count": 3}, "node_count": 2},
    {"distributed_training": {"type": "parameter_server", "chief": True, "evaluator": True}},
    {"distributed_training": {"type": "mpi", "process_count_per_node": 4}},
    {
        "custom_docker_image": "team/image:1",
        "image_registry_details": {"username": "ana", "password": "open-sesame"},
    },
]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(Client().get(ADDRESS).content)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def is_accepted(config: dict[str, Any]) -> bool:
    try:
        parse(config)
    except Invalid:
        return False
    return True


def test_the_schema_is_open_to_editors_and_names_itself(client: Client):
    answer = client.get(ADDRESS)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/schema+json"
    schema = answer.json()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].endswith(ADDRESS)
    assert schema["title"] == "Trainyard run configuration"
    assert schema["description"]


@pytest.mark.parametrize("config", INVALID, ids=repr)
def test_what_is_refused_is_refused_by_the_schema_too(
    validator: Draft202012Validator, config: dict[str, Any]
):
    assert not is_accepted(MINIMAL | config)
    assert not validator.is_valid(MINIMAL | config)


@pytest.mark.parametrize("config", VALID, ids=repr)
def test_what_is_accepted_is_valid_by_the_schema_too(
    validator: Draft202012Validator, config: dict[str, Any]
):
    assert is_accepted(MINIMAL | config)
    assert list(validator.iter_errors(MINIMAL | config)) == []


def test_every_example_names_the_schema_and_is_valid_by_it(validator: Draft202012Validator):
    found = list(EXAMPLES.glob("*/run.json"))
    assert found
    for path in found:
        config = json.loads(path.read_text())
        assert config["$schema"] == f"http://127.0.0.1:8000{ADDRESS}", path
        assert list(validator.iter_errors(config)) == [], path


@pytest.mark.django_db
def test_a_configuration_that_is_returned_is_valid_and_can_be_submitted_again(
    client: Client, team: Team, bob: User, validator: Draft202012Validator
):
    config = parse(MINIMAL | VALID[2] | VALID[9] | {"node_count": 2})
    run = make_run(team, bob, config=json.loads(json.dumps(config.to_row())))
    address = f"/api/v1/teams/{team.slug}/runs/{run.number}"
    returned = client.get(address, headers=bearer(bob)).json()["config"]
    assert list(validator.iter_errors(returned)) == []
    assert parse(returned) == config


def test_every_field_says_what_it_is():
    schema = RunConfig.model_json_schema()
    for part in [schema, *schema["$defs"].values()]:
        for name, field in part.get("properties", {}).items():
            assert field.get("description"), name
    units = {"memory_gb": "GB", "cpus_per_process": "cores", "grace_seconds": "seconds"}
    for name, unit in units.items():
        assert unit in schema["properties"][name]["description"]


@pytest.mark.django_db
def test_the_openapi_document_has_the_configuration_where_it_is_sent_and_returned(client: Client):
    document = client.get("/api/v1/openapi.json").json()
    OpenAPIV31SpecValidator(document).validate()
    schemas = document["components"]["schemas"]
    assert set(schemas["RunConfig"]["properties"]) == set(
        RunConfig.model_json_schema()["properties"]
    )
    reference = {"$ref": "#/components/schemas/RunConfig"}
    assert schemas["RunDetail"]["properties"]["config"] == reference
    submit = document["paths"]["/api/v1/teams/{slug}/runs"]["post"]
    body = submit["requestBody"]["content"]["multipart/form-data"]
    assert body["schema"]["properties"]["config"] == reference
    assert set(body["schema"]["required"]) == {"source", "config"}
    assert body["encoding"] == {"config": {"contentType": "application/json"}}
