"""What django-ninja leaves out of the OpenAPI document: errors, and JSON that it does not validate.

A configuration comes as text in a part of a multipart body, is read by `validation.validate`, and
is returned as it was stored. `described_by` notes the model that describes such a value, and
`add_models` puts these models into the finished document.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, WithJsonSchema
from pydantic.json_schema import models_json_schema

PROBLEM = "#/components/responses/Problem"
PROBLEMS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
COMPONENT = "#/components/schemas/{model}"
MARK = "x-described-by"
_models: dict[str, type[BaseModel]] = {}


def described_by(model: type[BaseModel]) -> WithJsonSchema:
    """Describe a value that is no model: `Annotated[dict[str, Any], described_by(RunConfig)]`."""
    _models[model.__name__] = model
    return WithJsonSchema({MARK: model.__name__})


def json_part(name: str, *, required: Sequence[str], instead: dict[str, Any]) -> dict[str, Any]:
    """Return the `openapi_extra` of an endpoint whose multipart body has a part with JSON.

    `instead` is the schema of a body that is JSON itself, which the endpoint takes as well, so
    that django-ninja cannot know which parts are `required`.
    """
    form = {
        "schema": {"required": list(required)},
        "encoding": {name: {"contentType": "application/json"}},
    }
    content = {"multipart/form-data": form, "application/json": {"schema": instead}}
    return {"requestBody": {"content": content}}


def add_models(document: dict[str, Any]) -> None:
    """Add the models that describe values, and those inside them, to the document's schemas."""
    _, schemas = models_json_schema(
        [(model, "validation") for model in _models.values()], ref_template=COMPONENT
    )
    document["components"]["schemas"] |= schemas["$defs"]
    _refer_to_models(document)


def add_problems(document: dict[str, Any]) -> None:
    """Describe the errors that every endpoint may answer with: RFC 9457 problems."""
    text = {"type": "string"}
    error = {"type": "object", "properties": {"field": text, "message": text}}
    properties = {
        "type": text,
        "title": text,
        "status": {"type": "integer"},
        "detail": text,
        "errors": {"type": "array", "items": error},
    }
    schema = {"title": "Problem", "type": "object", "properties": properties}
    document["components"]["schemas"]["Problem"] = schema | {"required": list(properties)}
    document["components"].setdefault("responses", {})["Problem"] = {
        "description": "What went wrong, and what to do",
        "content": {
            "application/problem+json": {"schema": {"$ref": COMPONENT.format(model="Problem")}}
        },
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            for status in PROBLEMS:
                operation["responses"].setdefault(int(status), {"$ref": PROBLEM})


def _refer_to_models(part: Any) -> None:
    if isinstance(part, list):
        for item in part:
            _refer_to_models(item)
    elif isinstance(part, dict):
        if MARK in part:
            reference = {"$ref": COMPONENT.format(model=part[MARK])}
            part.clear()
            part.update(reference)
        for value in part.values():
            _refer_to_models(value)
