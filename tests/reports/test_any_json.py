"""P12: any JSON as a configuration is accepted or refused in words, and a refusal leaves nothing.

The fields come from the JSON Schemas that the API documents, so that new ones take part unasked.
"""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from deploy.config import NewService
from runs.config import RunConfig
from runs.source.uploads import snapshot_from_archive
from tests.deploy.conftest import RegisterModel, register
from tests.factories import bearer, make_target
from tests.runs.source.archive_builders import tar_gz_of
from workspace.models import Team
from workspace.targets.settings import NewTarget

__all__ = ["register"]
pytestmark = pytest.mark.django_db

ODD = [
    float("nan"),
    float("inf"),
    -(2**63) - 1,
    2**31,
    1e300,
    -0.0,
    "\0",
    "\ud800",
    "\u202e",
    " ",
    "a" * 2000,
    "../x",
    "9" * 5000,
    json.loads("[" * 300 + "]" * 300),
    {"": {"\0": [None]}},
]
Fields = dict[str, Any]
Post = Callable[[str], Any]

NAMES = st.sampled_from(["instances", "inputs", "A"]) | st.text(max_size=5)
ANYTHING = st.recursive(
    st.sampled_from(ODD) | st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


def like(schema: Fields, definitions: Fields) -> st.SearchStrategy[Any]:
    """Return values that a JSON Schema takes, as far as it says, and now and then others."""
    return st.one_of([ANYTHING, *[_fitting(schema, definitions)] * 4])


def _fitting(schema: Fields, definitions: Fields) -> st.SearchStrategy[Any]:
    match schema:
        case {"$ref": reference}:
            return _fitting(definitions[reference.rpartition("/")[2]], definitions)
        case {"anyOf": choices}:
            return st.one_of([_fitting(choice, definitions) for choice in choices])
        case {"enum": words}:
            return st.sampled_from(words)
        case {"type": "object", "properties": properties}:
            return _object_of(properties, definitions, schema.get("required", []))
        case {"type": "object"}:
            inner = schema.get("additionalProperties", True)
            part = like(inner, definitions) if isinstance(inner, dict) else ANYTHING
            return st.dictionaries(NAMES, part, max_size=3)
        case {"type": "array", "items": items}:
            return st.lists(like(items, definitions), max_size=3)
        case {"type": "string"}:
            words = [schema.get("default", ""), *schema.get("examples", [])]
            pattern = schema.get("pattern", r"\w{1,9}")
            return st.sampled_from(words) | st.from_regex(pattern, fullmatch=True)
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "integer"}:
            return st.integers(schema.get("minimum", 0), schema.get("maximum", 2**70))
        case {"type": "number"}:
            return st.floats(schema.get("minimum", 0), schema.get("maximum", 1e300))
    return ANYTHING


def _object_of(
    properties: Fields, definitions: Fields, required: list[str]
) -> st.SearchStrategy[Fields]:
    parts = {name: like(schema, definitions) for name, schema in properties.items()}
    few = st.lists(st.sampled_from(sorted(parts)), max_size=3).map(
        lambda names: {*names, *required}
    )
    known = few.flatmap(lambda names: st.fixed_dictionaries({name: parts[name] for name in names}))
    return (
        known
        | known
        | known
        | st.tuples(known, st.dictionaries(NAMES, ANYTHING)).map(lambda pair: pair[0] | pair[1])
    )


def bodies(model: type[BaseModel], valid: Fields) -> st.SearchStrategy[str]:
    """Return JSON texts, nearly all of them near to what a model takes."""
    schema = model.model_json_schema()
    changed = _object_of(schema["properties"], schema.get("$defs", {}), []).map(
        lambda fields: valid | fields
    )
    return (changed | changed | changed | changed | ANYTHING).map(json.dumps)


def contents() -> dict[type, int]:
    """Return how many rows each table has."""
    tables = {model for model in apps.get_models() if model._meta.managed}
    return {model: model._default_manager.count() for model in tables}


def is_accepted_or_refused_in_words(post: Post, body: str) -> None:
    """Post a body and take back what came of it."""
    with transaction.atomic():
        before = contents()
        answer = post(body)
        event(str(answer.status_code))
        if answer.status_code == 201:
            answer.json()
        else:
            assert answer.status_code == 400, (answer.status_code, answer.content)
            errors = answer.json()["errors"]
            assert errors
            for error in errors:
                assert error["field"]
                assert error["message"][-1:] in {".", "?", ")"}, error
                assert "Input should" not in error["message"]
            assert contents() == before
        transaction.set_rollback(True)


PROPERTY = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def client(root: User) -> Client:
    return Client(headers=bearer(root), raise_request_exception=False)


@pytest.fixture
def source(team: Team, root: User, broker: object) -> bytes:
    """Return an archive that has been uploaded before: it stays, whatever comes with it."""
    make_target(team)
    archive = tar_gz_of({"train.py": b"print(1)\n"})
    snapshot_from_archive(team=team, by=root, file=io.BytesIO(archive), filename="")
    return archive


@PROPERTY
@given(bodies(RunConfig, {"experiment": "digits", "entry_script": "train.py"}))
def test_p12_any_json_is_a_run_or_is_refused(client: Client, team: Team, source: bytes, body: str):
    def post(body: str) -> Any:
        form = {"source": SimpleUploadedFile("app.tar.gz", source), "config": body}
        return client.post(f"/api/v1/teams/{team.slug}/runs", form)

    is_accepted_or_refused_in_words(post, body)


@pytest.fixture
def deployable(team: Team, register: RegisterModel) -> None:
    make_target(team)
    register()


@PROPERTY
@given(bodies(NewService, {"name": "digits", "model": "digits:1"}))
@pytest.mark.usefixtures("deployable")
def test_p12_any_json_is_a_service_or_is_refused(client: Client, team: Team, body: str):
    address = f"/api/v1/teams/{team.slug}/services"

    is_accepted_or_refused_in_words(
        lambda body: client.post(address, body, content_type="application/json"), body
    )


@PROPERTY
@given(bodies(NewTarget, {"name": "mine", "kind": "docker", "address": "unix:///run/docker.sock"}))
def test_p12_any_json_is_a_target_or_is_refused(client: Client, team: Team, body: str):
    address = f"/api/v1/teams/{team.slug}/targets"

    is_accepted_or_refused_in_words(
        lambda body: client.post(address, body, content_type="application/json"), body
    )
