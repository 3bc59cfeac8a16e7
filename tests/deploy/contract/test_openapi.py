"""A service as an OpenAPI document: valid, and as strict as its model's signature."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from deploy.contract.examples import example_for
from deploy.contract.openapi import ServiceDescription, document_of
from deploy.contract.signatures import signatures_of
from deploy.models import AccessPolicy, Service
from deploy.services import deploy
from models.models import ModelVersion
from tests.deploy.conftest import RegisterModel
from tests.deploy.contract import signatures
from tests.deploy.contract.signatures import version_with
from workspace.models import ComputeTarget, Team

pytestmark = pytest.mark.slow

CLASSIFY = "tensorflow/serving/classify"


def document(version: ModelVersion, policy: str = AccessPolicy.KEYS) -> dict[str, Any]:
    made = document_of(
        ServiceDescription(
            team="default",
            name="digits",
            server="https://trainyard.test",
            model="mnist",
            version=3,
            framework_version="2.21",
            access_policy=policy,
            signatures=signatures_of(version),
        )
    )
    OpenAPIV31SpecValidator(made).validate()
    return made


def is_allowed(made: dict[str, Any], part: str, value: Any) -> bool:
    schema = {"$ref": f"#/components/schemas/{part}", "components": made["components"]}
    return bool(Draft202012Validator(schema).is_valid(value))


SHAPES: list[signatures.Described] = [
    {"x": ("float32", [-1, 3])},
    {"x": ("int64", [-1])},
    {"x": ("float32", None)},
    {"x": ("float32", [2, 2])},
    {"x": ("uint8", [])},
    {"age": ("int32", [-1, 1]), "name": ("string", [-1])},
    {"on": ("bool", [-1]), "rate": ("float32", [])},
    {"examples": ("string", [-1])},
    {"half": ("float16", [-1, 2])},
    {},
]


@pytest.mark.parametrize("inputs", SHAPES, ids=str)
def test_the_document_is_valid_and_takes_its_own_example(inputs: signatures.Described) -> None:
    version = version_with(inputs)
    made = document(version)
    body = example_for(version).body
    assert body is None or is_allowed(made, "serving_default.Request", body)


FLOATS: signatures.Described = {"x": ("float32", [-1, 3])}
PERSON: signatures.Described = {"age": ("uint8", [-1]), "name": ("string", [-1])}


@pytest.mark.parametrize(
    ("inputs", "body", "allowed"),
    [
        (FLOATS, {"instances": [[1, 2.5, -3]]}, True),
        (FLOATS, {"instances": [{"x": [1, 2, 3]}]}, True),
        (FLOATS, {"inputs": [[1, 2, 3]]}, True),
        (FLOATS, {"inputs": {"x": [[1, 2, 3]]}}, True),
        (FLOATS, {"instances": [[1, 2]]}, False),
        (FLOATS, {"instances": []}, False),
        (FLOATS, {"instances": [["1", 2, 3]]}, False),
        (FLOATS, {"instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]}, False),
        (FLOATS, {"instances": [{"y": [1, 2, 3]}]}, False),
        (FLOATS, {"signature_name": "other", "instances": [[1, 2, 3]]}, False),
        (PERSON, {"instances": [{"age": 255, "name": "Ada"}]}, True),
        (PERSON, {"instances": [{"age": 7, "name": {"b64": "QWRh"}}]}, True),
        (PERSON, {"instances": [{"age": 256, "name": "Ada"}]}, False),
        (PERSON, {"instances": [{"age": 1.5, "name": "Ada"}]}, False),
        (PERSON, {"instances": [{"age": 1}]}, False),
        (PERSON, {"instances": [{"age": 1, "name": 2}]}, False),
        ({"on": ("bool", [-1])}, {"instances": [True]}, True),
        ({"on": ("bool", [-1])}, {"instances": [1]}, False),
    ],
)
def test_requests_are_allowed_as_the_signature_says(
    inputs: signatures.Described, body: dict[str, Any], allowed: bool
) -> None:
    made = document(version_with(inputs))
    assert is_allowed(made, "serving_default.Request", body) is allowed


def test_answers_are_described() -> None:
    outputs: signatures.Described = {"label": ("string", [-1]), "scores": ("float32", [-1, 2])}
    made = document(version_with(FLOATS, outputs=outputs))
    row = {"label": "cat", "scores": [0.1, 0.9]}
    assert is_allowed(made, "serving_default.Answer", {"predictions": [row]})
    assert not is_allowed(made, "serving_default.Answer", {"predictions": [{"label": "cat"}]})
    assert is_allowed(
        made, "serving_default.Answer", {"outputs": {"label": ["cat"], "scores": [[0.1, 0.9]]}}
    )


def test_classify_is_offered_where_a_signature_is_for_it() -> None:
    examples: signatures.Described = {"inputs": ("string", [-1])}
    paths = document(version_with(examples, method=CLASSIFY))["paths"]
    assert "/serve/default/digits/v1/models/mnist:classify" in paths
    assert "/serve/default/digits/v1/models/mnist:regress" not in paths


def test_only_an_open_service_asks_for_no_key() -> None:
    version = version_with(FLOATS)
    assert document(version)["security"] == [{"bearer": []}]
    assert document(version, AccessPolicy.PUBLIC)["security"] == []


@pytest.mark.django_db
def test_the_api_gives_the_document_of_a_service(
    client: Client,
    team: Team,
    bob: User,
    charlie: User,
    register: RegisterModel,
    target: ComputeTarget,
) -> None:
    deploy(team=team, by=bob, name="digits", version=register(), target=target)
    address = "/api/v1/teams/default/services/digits/openapi.json"
    client.force_login(bob)
    made = client.get(address).json()
    OpenAPIV31SpecValidator(made).validate()
    assert "/api/v1/teams/default/services/digits/score" in made["paths"]
    Service.objects.update(access_policy=AccessPolicy.PUBLIC)
    assert client.get(address).json()["security"] == []
    client.force_login(charlie)
    assert client.get(address).status_code == 404
