"""Read untrusted JSON with pydantic models: strict types, every error at once, in our words.

A model derives from `StrictModel`; `validate` reads data with it and raises `Invalid` with one
`FieldError` for each field that is wrong. In a validator, raise `ValueError` with the message for
the person; `error_at` puts it on a field further in or on another one. Rules between fields are
validators of the later field, which finds the earlier ones that are valid in `info.data`: unlike a
validator of the whole model it runs when other fields are wrong, so that no error hides another.
"""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, PydanticKnownError
from pydantic_core import core_schema as core

from workspace.platform.errors import FieldError, Invalid

MAX_NAME_SHOWN = 100
# Far below the depth at which readers and writers of JSON fail, each at one of its own.
MAX_DEPTH = 100
Model = TypeVar("Model", bound="StrictModel")


class StrictModel(BaseModel):
    """A JSON object of known fields. Text is no number, true is no 1, and 1.0 no whole number.

    null means "not given", unless the field's type allows None; `model_fields_set` then holds the
    field. A field's other name in JSON, such as `$schema`, is its `validation_alias`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: object) -> object:
        if not isinstance(data, dict) or None not in data.values():
            return data
        optional = _fields_that_allow_null(cls)
        names = _names_of(cls)
        return {
            name: value
            for name, value in data.items()
            if value is not None or name in optional or name not in names
        }


def validate(model: type[Model], data: object, *, name: str = "config", message: str = "") -> Model:
    """Return `data`, parsed JSON, as a model. Raises Invalid with every error.

    `name` stands for the data as a whole in the errors. `message` is the summary; without one it
    is made of all errors.
    """
    errors: list[FieldError] = []
    if isinstance(data, dict):
        for field in list(data):
            if problem := _unstorable({field: data[field]}):
                shown = field.encode("ascii", "backslashreplace").decode()[:MAX_NAME_SHOWN]
                errors.append(FieldError(shown or name, problem))
                data = {other: value for other, value in data.items() if other != field}
    try:
        valid = model.model_validate(data)
    except ValidationError as error:
        errors += field_errors(error, model, data, name=name)
    if errors:
        errors = _first_of_each_field(errors)
        raise Invalid(message, errors=errors) if message else Invalid.of(*errors)
    return valid


def field_errors(
    error: ValidationError, model: type[BaseModel], data: object, *, name: str = "config"
) -> list[FieldError]:
    """Return pydantic's errors in our words, at most one for each field."""
    found = []
    for details in error.errors(include_url=False):
        if details["type"] == "default_factory_not_called":
            continue  # another field is wrong, on which this one's default depends
        path, owners = _place_of(details, model, data)
        if details["type"] == "extra_forbidden":
            known = {known for owner in owners for known in _names_of(owner)}
            message = _unknown_field(path[-1], known)
            path[-1] = path[-1][:MAX_NAME_SHOWN]
        else:
            message = message_of(details)
        found.append(FieldError(".".join(path) or name, message))
    return _first_of_each_field(found)


def message_of(error: ErrorDetails) -> str:
    """Return the message for one of pydantic's errors; pydantic's own where we have no better."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    name = str(error["loc"][-1]) if error["loc"] else "value"
    if kind in WANTED:
        return f"Use {WANTED[kind]}, not {kind_of(value)}."
    if kind == "missing" or (kind == "string_too_short" and value == ""):
        return f"{name} is required."
    if kind in BOUNDS:
        words, key = BOUNDS[kind]
        bound = context[key]
        return f"{_as_label(name)} should be {words} {_digits(bound)}; it is {_digits(value)}."
    if kind == "finite_number":
        return f"Use a finite number, not {value}."
    if kind in {"string_too_short", "too_short"}:
        return f"Use at least {context['min_length']:,} {_items(value)}."
    if kind in {"string_too_long", "too_long"}:
        return f"Use at most {context['max_length']:,} {_items(value)}; it has {len(value):,}."
    if kind in {"enum", "literal_error"}:
        options = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        return f"{_shown(value)} is not one of {options}."
    if kind == "field_error":
        return str(context["message"])
    return error["msg"].removeprefix("Value error, ")


def error_at(path: str | Sequence[str], message: str, *, beside: bool = False) -> Exception:
    """Return an error for a validator to raise about a field inside its own.

    With `beside` the path starts at the object that the validator's field belongs to.
    """
    inner = [path] if isinstance(path, str) else list(path)
    # pydantic fills in {names} of the template from the context.
    return PydanticCustomError(
        "field_error", "{message}", {"message": message, "path": inner, "beside": beside}
    )


WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a JSON object",
    "model_type": "a JSON object",
    "model_attributes_type": "a JSON object",
}
BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("above", "gt"),
    "less_than": ("below", "lt"),
}


@dataclass(frozen=True)
class Regex:
    """The rule of a text field: `Annotated[str, Regex(pattern, "a version such as 2.15.1")]`.

    The pattern has to match the whole text. An empty text is refused as missing, or accepted
    where the field is `optional`.
    """

    pattern: re.Pattern[str]
    hint: str
    optional: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        pattern = f"(?:{self.pattern.pattern})?" if self.optional else f"(?:{self.pattern.pattern})"
        return handler(schema) | {"pattern": f"^{pattern}$"}

    def _check(self, value: str) -> str:
        if not value and not self.optional:
            raise PydanticKnownError("missing")
        if value and not self.pattern.fullmatch(value):
            is_plain = all(letter.isprintable() for letter in value)
            raise ValueError(
                f"Use {self.hint}{'' if is_plain else ', without control characters'}."
            )
        return value


@dataclass(frozen=True)
class OneOf:
    """The rule of a text field with a choice that is known at import: `OneOf(tuple(CURATED))`."""

    options: tuple[str, ...]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {"enum": list(self.options)}

    def _check(self, value: object) -> object:
        if value not in self.options:
            raise ValueError(f"{_shown(value)} is not one of {', '.join(self.options)}.")
        return value


def _source_path(value: str) -> str:
    if not value:
        return ""
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or "\0" in value:
        raise ValueError("Use a path inside the source directory, relative to its root.")
    return str(path)


def _texts(value: object) -> object:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(item.strip() for item in value if item.strip())
    raise ValueError('Use a list of texts, such as ["scikit-learn==1.7"].')


def _keepable(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("Use finite numbers: JSON has no NaN and no Infinity.") from None
    if _has_nul(value):
        raise ValueError("Remove the NUL character.")
    return value


def _has_nul(value: object) -> bool:
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, str) and "\0" in part:
            return True
        if isinstance(part, dict):
            left += [*part, *part.values()]
        elif isinstance(part, list):
            left += part
    return False


ANYTHING = re.compile(r"[^\x00]{1,1000}", re.DOTALL)

# 1 to 1,000 characters.
Text = Annotated[str, Regex(ANYTHING, "1 to 1,000 characters")]
# A path in the source directory, in its normal form; the empty text names none.
OptionalSourcePath = Annotated[str, AfterValidator(_source_path)]
SourcePath = Annotated[str, Field(min_length=1), AfterValidator(_source_path)]
# A list of texts, stripped, without the empty ones.
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
# Any JSON object that every database can keep.
JsonObject = Annotated[dict[str, Any], AfterValidator(_keepable)]


def kind_of(value: object) -> str:
    """Name the JSON kind of a value, as errors do."""
    names: dict[type, str] = {
        type(None): "null",
        bool: "a boolean",
        int: "a whole number",
        float: "a decimal number",
        str: "text",
        list: "a list",
        tuple: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


def _place_of(
    details: ErrorDetails, model: type[BaseModel], data: object
) -> tuple[list[str], list[type[BaseModel]]]:
    """Return the names on the way to an error, and the models of the object that it is in."""
    path: list[str] = []
    here: Any = data
    owners = models = [model]
    for part in details["loc"]:
        annotations = [found for one in models for found in _annotations(one, part)]
        if annotations or (isinstance(here, Mapping) and part in here):
            # A field that a validator filled in is not in the data.
            here = here.get(part) if isinstance(here, Mapping) else None
        elif isinstance(here, Sequence) and isinstance(part, int):
            here = here[part]
        else:
            continue  # a mark of pydantic's own, such as [key] or the name of a union's branch
        path.append(str(part))
        owners = models
        if annotations:
            models = [inner for found in annotations for inner in _models_in(found)]
    if details["type"] == "field_error":
        context = details["ctx"]
        path = [*(path[:-1] if context["beside"] else path), *context["path"]]
    return path, owners


def _first_of_each_field(errors: Iterable[FieldError]) -> list[FieldError]:
    first: dict[str, FieldError] = {}
    for error in errors:
        first.setdefault(error.field, error)
    return list(first.values())


def _unknown_field(name: str, known: Collection[str]) -> str:
    names = sorted(name for name in known if not name.startswith("$"))
    near = difflib.get_close_matches(name[:MAX_NAME_SHOWN], names, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else "see the documentation for the names."
    return f"Unknown field: {advice}"


def _annotations(model: type[BaseModel], name: object) -> list[Any]:
    found = model.model_fields.items()
    return [field.annotation for own, field in found if name == _name_in_json(own, field)]


def _name_in_json(name: str, field: FieldInfo) -> str:
    return field.validation_alias if isinstance(field.validation_alias, str) else name


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _names_of(model: type[BaseModel]) -> set[str]:
    return {_name_in_json(own, field) for own, field in model.model_fields.items()}


def _fields_that_allow_null(model: type[BaseModel]) -> set[str]:
    return {
        _name_in_json(own, field)
        for own, field in model.model_fields.items()
        if field.annotation is Any or type(None) in get_args(field.annotation)
    }


def _unstorable(value: object) -> str:
    """Return why a value cannot be kept as JSON in UTF-8, if so."""
    if _is_too_deep(value):
        return f"It is nested too deeply: use at most {MAX_DEPTH} levels."
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "It holds half of a surrogate pair, which is no character."
    return ""


def _is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 2):  # the value stands in the object of its field
        level = [
            inner
            for part in level
            if isinstance(part, list | dict)
            for inner in (part.values() if isinstance(part, dict) else part)
        ]
    return bool(level)


def _as_label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _digits(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,}"


def _items(value: object) -> str:
    return "characters" if isinstance(value, str) else "items"


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return kind_of(value)
    return repr(value) if len(repr(value)) <= 60 else f"{kind_of(value)} of that length"
