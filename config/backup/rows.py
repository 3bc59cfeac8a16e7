"""The rows of every table as lines of JSON, the same for each kind of database."""

import base64
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import IO, Any

from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.management.color import no_style
from django.db import connection, models, transaction
from django.db.migrations.recorder import MigrationRecorder

ROWS_AT_ONCE = 2000
# Rows with bytes may be large.
ROWS_OF_BYTES_AT_ONCE = 100
# Whoever restores logs in again.
EXCLUDED_MODELS = {Session}
Model = type[models.Model]


def tables() -> list[Model]:
    """List the models of all tables that hold rows of ours, those between two others included."""
    return [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy and model not in EXCLUDED_MODELS
    ]


def migrations() -> list[str]:
    """Name every migration that the database has had."""
    had = MigrationRecorder(connection).applied_migrations()
    return sorted(f"{app}.{name}" for app, name in had)


@contextmanager
def snapshot() -> Iterator[None]:
    """Have all that is read inside be as of one moment, while others go on writing."""
    if connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
        return
    with connection.cursor() as cursor:
        cursor.execute("BEGIN DEFERRED")  # atomic() would keep writers out
        try:
            yield
        finally:
            cursor.execute("COMMIT")


def write_rows(model: Model, file: IO[bytes]) -> None:
    names = [field.attname for field in model._meta.concrete_fields]
    rows = model._base_manager.order_by("pk").values_list(*names)
    for row in rows.iterator(chunk_size=_rows_at_once(model)):
        file.write(json.dumps(row, default=_plain).encode() + b"\n")


def read_rows(model: Model, lines: Iterable[bytes]) -> None:
    """Put the rows that `write_rows` wrote into an empty table."""
    fields = model._meta.concrete_fields
    coming = iter(lines)
    while some := list(islice(coming, _rows_at_once(model))):
        model._base_manager.bulk_create(
            model(
                **{
                    field.attname: _typed(field, value)
                    for field, value in zip(fields, json.loads(line), strict=True)
                }
            )
            for line in some
        )


def empty_tables() -> None:
    """Take away what a new database has in it of itself: the names of permissions and the like."""
    with connection.cursor() as cursor:
        for model in tables():
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(model._meta.db_table)}")  # noqa: S608 (our own names)


def reset_sequences() -> None:
    """Have new rows get numbers above those of the rows that were put in with theirs."""
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), tables()):
            cursor.execute(statement)


def _rows_at_once(model: Model) -> int:
    fields = model._meta.concrete_fields
    has_bytes = any(isinstance(field, models.BinaryField) for field in fields)
    return ROWS_OF_BYTES_AT_ONCE if has_bytes else ROWS_AT_ONCE


def _plain(value: object) -> str:
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"A backup cannot hold a {type(value).__name__}.")


def _typed(field: "models.Field[Any, Any]", value: Any) -> Any:
    """Return a value out of JSON the type that its field has in Python."""
    return value if isinstance(field, models.JSONField) else field.to_python(value)
