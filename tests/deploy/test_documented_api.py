"""Whatever is sent to the API, it answers with a status of its OpenAPI document, below 500."""

from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from config.api import api
from deploy.services import deploy
from tests.deploy.conftest import RegisterModel
from tests.factories import make_run
from workspace.models import ComputeTarget, Team

pytestmark = [pytest.mark.django_db, pytest.mark.processes]  # with a broker

DOCUMENT = api.get_openapi_schema(path_prefix="/api/v1/")
REAL = {"slug": "default", "name": "digits", "number": "1", "version": "1"}
ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "\0", "9" * 20, "../x", "x" * 300, 10**20, -1, [], {}, [[]], {"": None}])
)


class Operation(NamedTuple):
    method: str
    path: str
    described: dict[str, Any]


def operations() -> list[Operation]:
    return [
        Operation(method, path, described)
        for path, methods in DOCUMENT["paths"].items()
        for method, described in methods.items()
    ]


def values(schema: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Return what a schema allows, roughly, and now and then what it does not."""
    if reference := schema.get("$ref"):
        return values(DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]], depth)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return st.one_of([values(one, depth) for one in schema[choice]])
    return st.one_of(_allowed(schema, depth), _allowed(schema, depth), ODD)


def _allowed(schema: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    kind = schema.get("type")
    if kind == "object" and depth < 4:
        known = {name: values(one, depth + 1) for name, one in schema.get("properties", {}).items()}
        required = {name: known[name] for name in schema.get("required", ()) if name in known}
        others = {name: one for name, one in known.items() if name not in required}
        return st.fixed_dictionaries(required, optional=others)
    if kind == "array" and depth < 4:
        return st.lists(values(schema.get("items", {}), depth + 1), max_size=3)
    if kind in {"integer", "number"}:
        low, high = int(schema.get("minimum", -10)), int(schema.get("maximum", 10**6))
        return st.integers(min(low, high), max(low, high))
    if kind == "boolean":
        return st.booleans()
    return st.sampled_from(["default", "digits", "alice", "a"]) | st.text(max_size=20)


@pytest.fixture
def admin(
    team: Team, alice: User, target: ComputeTarget, register: RegisterModel, broker: Redis
) -> Client:
    """Have a run, a model and a service, so that addresses find something."""
    make_run(team)
    deploy(team=team, by=alice, name="digits", version=register(), target=target)
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    return client


@pytest.mark.parametrize(
    "operation", operations(), ids=lambda one: f"{one.method} {one.path.removeprefix('/api/v1/')}"
)
@given(data=st.data())
@settings(
    max_examples=5,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_an_answer_has_a_documented_status(
    admin: Client, operation: Operation, data: st.DataObject
) -> None:
    path, query = operation.path, {}
    for parameter in operation.described.get("parameters", ()):
        name = parameter["name"]
        if parameter["in"] == "query":
            if data.draw(st.booleans()):
                query[name] = str(data.draw(values(parameter["schema"])))
        else:
            path = path.replace(f"{{{name}}}", REAL.get(name, "1"))
    content = operation.described.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("schema")
    sent: dict[str, Any] = {}
    if body is not None:
        sent = {"data": data.draw(values(body)), "content_type": "application/json"}
    elif form := content.get("multipart/form-data", {}).get("schema"):
        fields = data.draw(values(form).filter(lambda drawn: isinstance(drawn, dict)))
        sent = {"data": {name: str(value) for name, value in fields.items()}}
    if operation.method != "post" and body is None:
        sent = {}
    answer = getattr(admin, operation.method)(path, query_params=query, **sent)
    documented = {str(status) for status in operation.described["responses"]}
    assert answer.status_code < 500, answer.content
    assert str(answer.status_code) in documented, answer.content
