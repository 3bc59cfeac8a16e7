"""What is said of a version when it is registered, read strictly, every error at once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.models import NAME_RULE, Stage, model_name_validator
from runs.reading import Reader
from workspace.errors import FieldError, Invalid

FRAMEWORK = "TensorFlow"
MODEL_NAME = re.compile(model_name_validator.regex)
VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,2}((a|b|rc)\d{1,3})?", re.ASCII)
PAGE_NAME = "register"  # of the address of the page that registers models
MAX_TAGS = 50
TAG_LENGTH = 256
ALIAS_LENGTH = 64
DESCRIPTION_LENGTH = 10_000
MOST_CORES = 4096
MOST_GB = 1e6
MOST_GPUS = 64


@dataclass(frozen=True)
class Registration:
    """What to register a SavedModel as; an empty framework version is taken from the model."""

    name: str
    framework_version: str = ""
    resource_configuration: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    stage: str = Stage.NONE
    description: str = ""


FIELDS = (
    "name",
    "framework",
    "framework_version",
    "resource_configuration",
    "tags",
    "properties",
    "stage",
    "description",
)


@dataclass(frozen=True)
class Change:
    """What is to be said of a version from now on; None leaves it as it was.

    A tag that is None goes away. `archive_others` archives what had the stage before.
    """

    stage: str | None = None
    archive_others: bool = False
    description: str | None = None
    tags: dict[str, str | None] | None = None


def read_registration(data: Mapping[str, Any], *, besides: tuple[str, ...] = ()) -> Registration:
    """Read a registration's fields; `besides` are others that the caller reads."""
    reader = Reader(dict(data))
    name = reader.text("name", pattern=MODEL_NAME, hint=NAME_RULE)
    if name == PAGE_NAME:
        reader.refuse("name", "This name is taken by a page. Choose another.")
    if reader.take("framework") not in (None, "", FRAMEWORK):
        reader.refuse("framework", f"Only {FRAMEWORK} models, saved as SavedModels, are taken.")
    registration = Registration(
        name=name,
        framework_version=_version(reader),
        resource_configuration=_resources(reader),
        tags=_labels(reader, "tags"),
        properties=_labels(reader, "properties"),
        stage=reader.choice("stage", Stage.values),
        description=_description(reader),
    )
    _finish(reader, (*FIELDS, *besides))
    return registration


def read_change(data: object) -> Change:
    """Read the body that changes a version. Raises Invalid with every error."""
    reader = Reader(data)
    if reader.take("properties") is not None:
        reader.refuse("properties", "Properties are set once, when a version is registered.")
    removed = [key for key, value in reader.mapping("tags").items() if value is None]
    kept = {key: value for key, value in reader.mapping("tags").items() if value is not None}
    tags = _labels(Reader({"tags": kept}, errors=reader.errors), "tags")
    change = Change(
        stage=reader.choice("stage", Stage.values) if reader.take("stage") is not None else None,
        archive_others=reader.boolean("archive_others", default=False),
        description=_description(reader) if reader.take("description") is not None else None,
        tags=None if reader.take("tags") is None else {**tags, **dict.fromkeys(removed)},
    )
    _finish(reader, ("stage", "archive_others", "description", "tags", "properties"))
    return change


def read_alias(name: str) -> str:
    """Check the name of an alias. Raises Invalid."""
    if len(name) > ALIAS_LENGTH or not MODEL_NAME.fullmatch(name):
        hint = NAME_RULE.replace("255", str(ALIAS_LENGTH))
        raise Invalid.of(FieldError("alias", f"Use {hint}."))
    return name


def _finish(reader: Reader, known: tuple[str, ...]) -> None:
    try:
        reader.finish(known)
    except Invalid as error:
        raise Invalid.of(*error.errors) from None


def _version(reader: Reader) -> str:
    if reader.take("framework_version") in (None, ""):
        return ""
    return reader.text("framework_version", pattern=VERSION, hint="a version such as 2.15.1")


def _resources(reader: Reader) -> dict[str, Any]:
    """Read cpu, memory_in_gb and gpu; Azure ML's spelling memoryInGB is taken too."""
    given = reader.mapping("resource_configuration")
    if "memoryInGB" in given:
        given = {**given, "memory_in_gb": given["memoryInGB"]}
        del given["memoryInGB"]
    inner = Reader(given, prefix="resource_configuration", errors=reader.errors)
    resources = {
        "cpu": inner.decimal("cpu", low=0.01, high=MOST_CORES),
        "memory_in_gb": inner.decimal("memory_in_gb", low=0.01, high=MOST_GB),
        "gpu": inner.optional_integer("gpu", low=0, high=MOST_GPUS),
    }
    inner.finish(resources)
    return {name: value for name, value in resources.items() if value is not None}


def _labels(reader: Reader, field: str) -> dict[str, str]:
    given = reader.mapping(field)
    if len(given) > MAX_TAGS:
        reader.refuse(field, f"Use at most {MAX_TAGS} {field}.")
        return {}
    for key, value in given.items():
        where = f"{field}.{key[:TAG_LENGTH]}"
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            reader.refuse(where, "Use text or a number.")
        elif not key.strip() or not all(_fits_a_tag(text) for text in (key, str(value))):
            reader.refuse(where, f"Use names and values of 1 to {TAG_LENGTH} characters.")
    return {key: str(value) for key, value in given.items()}


def _fits_a_tag(text: str) -> bool:
    return len(text) <= TAG_LENGTH and "\0" not in text


def _description(reader: Reader) -> str:
    value = reader.take("description") or ""
    if not isinstance(value, str) or len(value) > DESCRIPTION_LENGTH or "\0" in value:
        reader.refuse("description", f"Use text of at most {DESCRIPTION_LENGTH:,} characters.")
        return ""
    return value.strip()
