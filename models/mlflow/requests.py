"""What calls carry: fields in the query or in JSON, read as protocol buffers are."""

import posixpath
import re
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar, get_origin

from django.http import HttpRequest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from workspace.platform.errors import Invalid
from workspace.platform.json_body import parse_json
from workspace.platform.validation import message_of

MAX_KEY = 250
MAX_SHOWN = 60
MAX_MILLISECONDS = 253_370_764_800_000  # the year 9999
KEY = re.compile(r"[\w\-./ :]+")
Request = TypeVar("Request", bound="MlflowRequest")


class MlflowRequest(BaseModel):
    """The fields of a call. Unknown ones are ignored; null means that a field is not given."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None}


def read_request(model: type[Request], request: HttpRequest) -> Request:
    """Read the fields of a call. Raises Invalid with all that is wrong, each naming its field."""
    data = _query(model, request) if request.method == "GET" else _body(request)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise Invalid(" ".join(dict.fromkeys(_messages(error)))) from None


def _query(model: type[MlflowRequest], request: HttpRequest) -> dict[str, Any]:
    lists = {
        name for name, field in model.model_fields.items() if get_origin(field.annotation) is list
    }
    return {
        name: request.GET.getlist(name) if name in lists else request.GET[name]
        for name in request.GET
    }


def _body(request: HttpRequest) -> Any:
    body = parse_json(request.body or b"{}")
    if not isinstance(body, dict):
        raise Invalid("Send a JSON object.")
    return body


def _messages(error: ValidationError) -> Iterator[str]:
    for details in error.errors(include_url=False):
        name = ""
        for part in details["loc"]:
            name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
        value = details["input"]
        if details["type"] == "missing" or (details["type"] == "string_too_short" and value == ""):
            yield f"Missing value for required parameter '{name}'."
        else:
            shown = repr(value)[:MAX_SHOWN]
            yield f"Invalid value {shown} for parameter '{name}': {message_of(details)}"


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("Leave out the NUL character.")
    return text


def _key(name: str) -> str:
    """Refuse what MLflow refuses: names that could be paths to somewhere else."""
    if not KEY.fullmatch(name):
        raise ValueError(
            "Use letters, digits, underscores, dashes, periods, spaces, colons and slashes."
        )
    if (
        name.startswith("/")
        or name.split("/")[0] in (".", "..")
        or posixpath.normpath(name) != name
    ):
        raise ValueError("Use a name that is no path elsewhere: leave out //, . and .. as parts.")
    return name


def _id_text(value: object) -> object:
    return str(value) if type(value) is int else value


def _not_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("Use a number.")
    return value


Text = Annotated[str, AfterValidator(_storable)]
RequiredText = Annotated[str, Field(min_length=1), AfterValidator(_storable)]
Id = Annotated[str, BeforeValidator(_id_text), Field(min_length=1), AfterValidator(_storable)]
Key = Annotated[RequiredText, Field(max_length=MAX_KEY), AfterValidator(_key)]
TagKey = Annotated[RequiredText, Field(max_length=MAX_KEY)]
Number = Annotated[float, BeforeValidator(_not_boolean)]
Integer = Annotated[int, BeforeValidator(_not_boolean), Field(ge=-(2**63), le=2**63 - 1)]
Milliseconds = Annotated[int, BeforeValidator(_not_boolean), Field(ge=0, le=MAX_MILLISECONDS)]
