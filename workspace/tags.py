"""What people write on runs and models: tags, which are names with values, and descriptions."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import JSONField, Lookup, Model, QuerySet
from django.db.models.sql.compiler import SQLCompiler
from pydantic import AfterValidator, BeforeValidator, Field

from workspace.platform.errors import FieldError, Invalid

MAX_TAGS = 50
MAX_TAG_NAME = 256
MAX_TAG_VALUE = 8_000
MAX_DESCRIPTION = 10_000
Row = TypeVar("Row", bound=Model)


def _value_text(value: object) -> object:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError("Use text or a number.")


def _value(text: str) -> str:
    if len(text) > MAX_TAG_VALUE or "\0" in text:
        raise ValueError(f"Use values of at most {MAX_TAG_VALUE:,} characters.")
    return text


def _name(text: str) -> str:
    if not text.strip() or len(text) > MAX_TAG_NAME or "\0" in text:
        raise ValueError(f"Use names of 1 to {MAX_TAG_NAME} characters.")
    return text


def _description(text: str) -> str:
    if len(text) > MAX_DESCRIPTION or "\0" in text:
        raise ValueError(f"Use text of at most {MAX_DESCRIPTION:,} characters.")
    return text.strip()


TagName = Annotated[str, AfterValidator(_name)]
TagValue = Annotated[str, BeforeValidator(_value_text), AfterValidator(_value)]
Tags = Annotated[dict[TagName, TagValue], Field(max_length=MAX_TAGS)]
TagChanges = Annotated[dict[TagName, TagValue | None], Field(max_length=MAX_TAGS)]
TAGS = (
    f"At most {MAX_TAGS}, each a name of up to {MAX_TAG_NAME} characters and a text or number of up"
    f" to {MAX_TAG_VALUE:,}."
)
TAG_CHANGES = "Sets these tags and keeps the others; null removes a tag."
Description = Annotated[str, AfterValidator(_description)]
DESCRIPTION = f"At most {MAX_DESCRIPTION:,} characters."


@JSONField.register_lookup
class HasTag(Lookup):  # type: ignore[type-arg]
    """`tags__has_tag=(name, value)`, or `(name, None)` for any value.

    Of Django's own lookups, one takes a name such as 2024 for an index, and others miss names with
    quotation marks on SQLite.
    """

    lookup_name = "has_tag"
    prepare_rhs = False
    rhs: tuple[str, str | None]

    def get_db_prep_lookup(
        self, value: Any, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        return "%s", [value]

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        column, parameters = self.process_lhs(compiler, connection)
        name, value = self.rhs
        if value is None:
            return f"%s IN (SELECT key FROM json_each({column}))", [name, *parameters]  # noqa: S608
        items = f"(SELECT key, atom FROM json_each({column}))"  # noqa: S608 - Django's own name
        return f"(%s, %s) IN {items}", [name, value, *parameters]

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        column, parameters = self.process_lhs(compiler, connection)
        name, value = self.rhs
        if value is None:
            return f"{column} ? %s", [*parameters, name]
        return f"{column} @> %s::jsonb", [*parameters, json.dumps({name: value})]


def with_tag(rows: QuerySet[Row], tag: str) -> QuerySet[Row]:
    """Narrow rows to those with a tag, given as its name or as name: value."""
    name, mark, value = (part.strip() for part in tag.partition(":"))
    return rows.filter(tags__has_tag=(name, value if mark else None))


def changed_tags(tags: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return tags with changes, None removing one. Raises Invalid where they become too many."""
    merged = {**tags, **changes}
    kept = {name: value for name, value in merged.items() if value is not None}
    if len(kept) > max(MAX_TAGS, len(tags)):
        raise Invalid.of(FieldError("tags", f"Use at most {MAX_TAGS} tags."))
    return kept


def tags_in(text: str) -> dict[str, str]:
    """Read what a person typed: a tag a line, as name: value."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [line.partition(":") for line in lines]
    return {name.strip(): value.strip() for name, _, value in pairs}


def tag_changes_in(text: str, held: Mapping[str, str]) -> dict[str, str | None]:
    """Read what a person typed in place of the tags that are held: one that is not there goes."""
    return {**dict.fromkeys(held), **tags_in(text)}


def tags_text(tags: Mapping[str, str]) -> str:
    """Return tags as `tags_in` reads them."""
    return "\n".join(f"{name}: {value}" for name, value in tags.items())
