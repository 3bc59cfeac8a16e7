"""JSON bodies of the API: what OpenAPI tells of them, and what is told of those that are wrong."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from config.api import api
from tests.factories import bearer

pytestmark = pytest.mark.django_db

TARGETS = "/api/v1/teams/default/targets"
CONFIGURED = {
    "NewTarget",
    "TargetSettings",
    "GrantSettings",
    "NewService",
    "ServiceChange",
    "ServiceResources",
    "AutoscaleOptions",
    "RollbackRule",
    "AccessChange",
    "LogPolicy",
    "KeyLimit",
    "KeyChoice",
    "RevisionChoice",
    "VersionChange",
    "AliasTarget",
}


def schemas() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema()))["components"][
        "schemas"
    ]
    return found


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all that it is made of."""
    if isinstance(schema, list):
        for item in schema:
            yield from parts(item)
    elif isinstance(schema, dict):
        yield schema
        for inner in schema.values():
            yield from parts(inner)


def test_openapi_describes_every_field_of_a_configuration_and_bounds_its_numbers() -> None:
    known = schemas()
    assert known.keys() >= CONFIGURED
    for name in CONFIGURED:
        assert known[name]["additionalProperties"] is False
        for field, schema in known[name]["properties"].items():
            assert schema.get("description"), f"{name}.{field} has no description"
            for part in parts(schema):
                if part.get("type") in ("integer", "number") and name != "AliasTarget":
                    has_bound = {"minimum", "exclusiveMinimum"} & part.keys()
                    assert has_bound, f"{name}.{field} has no lower bound"


def test_openapi_tells_defaults_and_units() -> None:
    known = schemas()
    target = known["TargetSettings"]["properties"]
    assert target["hang_timeout_seconds"]["default"] == 1800
    assert "(seconds)" in target["hang_timeout_seconds"]["title"]
    assert "(bytes)" in target["max_memory_bytes"]["title"]
    autoscale = known["AutoscaleOptions"]["properties"]
    assert (autoscale["max_replicas"]["default"], autoscale["max_replicas"]["maximum"]) == (10, 32)
    assert "Seconds" in autoscale["cool_down_seconds"]["description"]


def test_openapi_tells_both_forms_in_which_a_model_is_registered() -> None:
    operation = api.get_openapi_schema()["paths"]["/api/v1/teams/{slug}/models"]["post"]
    content = operation["requestBody"]["content"]
    for content_type, required in (("application/json", "run"), ("multipart/form-data", "archive")):
        schema = content[content_type]["schema"]
        assert {"name", required} <= set(schema["required"])
        assert "$ref" not in json.dumps(schema)
        for field, part in schema["properties"].items():
            assert field == "archive" or part["description"], field


@pytest.mark.parametrize("body", ["", "{", "[]", "3", '"x"', "[" * 100_000])
def test_a_body_that_is_no_object_is_an_error_of_the_body(
    client: Client, alice: User, body: str
) -> None:
    answer = client.generic("POST", TARGETS, body, "application/json", headers=bearer(alice))
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["body"]


def test_a_body_that_is_too_large_is_refused_as_such(
    client: Client, alice: User, settings: Any
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    answer = client.generic(
        "POST", TARGETS, json.dumps({"name": "x" * 200}), "application/json", headers=bearer(alice)
    )
    assert answer.status_code == 413


def test_every_error_of_a_target_names_its_field_and_the_nearest_known(
    client: Client, alice: User
) -> None:
    body = {"name": "a", "max_cpu": 4, "max_processes": "64", "tls_ca": None}
    answer = client.generic(
        "POST", TARGETS, json.dumps(body), "application/json", headers=bearer(alice)
    )
    errors = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert errors == {
        "max_cpu": "Unknown field: did you mean max_cpus?",
        "max_processes": "Use a whole number, not text.",
    }
