"""The JSON body of an API request: read strictly by a pydantic model, and documented by it."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser
from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema
from pydantic_core import core_schema as core

from workspace.platform.errors import FieldError, Invalid
from workspace.platform.validation import MAX_NAME_SHOWN, validate


@dataclass(frozen=True)
class JsonBody:
    """Marks an endpoint's argument: `payload: Annotated[NewTarget, JsonBody()]`.

    django-ninja documents the model; what is wrong with a body is raised as `Invalid`, in the words
    of `validate`.
    """

    def __get_pydantic_core_schema__(self, model: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core.no_info_wrap_validator_function(
            lambda data, _: validate(model, data, name="body"), handler(model)
        )


class StrictParser(Parser):
    """Parses JSON bodies for django-ninja."""

    def parse_body(self, request: HttpRequest) -> Any:
        return load_json(request.body)


def load_json(text: str | bytes) -> Any:
    """Return parsed JSON. Raises ValueError for an object that names a field twice.

    Parsers differ in which of the two counts, so that two readers would see two documents.
    """
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the field {name[:MAX_NAME_SHOWN]!r} is there twice")
    return found


# For endpoints that take bodies of several types, which django-ninja neither reads nor documents.


def parse_json(text: str | bytes, field: str = "body") -> Any:
    """Return parsed JSON. Raises Invalid for the field that it came in."""
    try:
        return load_json(text)
    except (ValueError, RecursionError) as error:
        raise Invalid.of(FieldError(field, f"Not valid JSON: {error}")) from None


def request_body(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return OpenAPI's description of a body that may have one of several content types."""
    content = {content_type: {"schema": schema} for content_type, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


def inline_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON Schema without references, so that it stands anywhere in OpenAPI."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, list):
            return [resolved(item) for item in part]
        if not isinstance(part, dict):
            return part
        others = {name: resolved(value) for name, value in part.items() if name != "$ref"}
        reference = part.get("$ref", "").rpartition("/")[2]
        return {**resolved(definitions[reference]), **others} if reference else others

    found: dict[str, Any] = resolved(schema)
    return found


def with_file(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the schema of a form with a file to upload."""
    file = {"type": "string", "format": "binary"}
    required = [*schema.get("required", []), name]
    return {**schema, "properties": {**schema["properties"], name: file}, "required": required}
