"""What the databases need other words for: tags as text, and LIKE that keeps to upper and lower."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func, Lookup, TextField, Value
from django.db.models.expressions import Combinable
from django.db.models.sql.compiler import SQLCompiler

GLOB = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})


class TagText(Func):
    """The value of a tag; null where there is none."""

    output_field = TextField()

    def __init__(self, tags: Combinable | str, name: Combinable | str) -> None:
        super().__init__(tags, Value(name) if isinstance(name, str) else name)

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, list[Any]]:
        return self._sql(compiler, "(SELECT atom FROM json_each({}) WHERE key = {})")

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, list[Any]]:
        return self._sql(compiler, "({} ->> ({})::text)")

    def _sql(self, compiler: SQLCompiler, template: str) -> tuple[str, list[Any]]:
        parts = [compiler.compile(each) for each in self.get_source_expressions()]
        sql = template.format(*(sql for sql, _ in parts))
        return sql, [value for _, values in parts for value in values]


class Like(Lookup):  # type: ignore[type-arg]
    """LIKE as MLflow has it: no character escapes another, and upper and lower case differ."""

    lookup_name = "like"
    prepare_rhs = False
    rhs: str

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        return self._sql(compiler, connection, "GLOB %s", self.rhs.translate(GLOB))

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        return self._sql(compiler, connection, "LIKE %s ESCAPE ''", self.rhs)

    def _sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, condition: str, pattern: str
    ) -> tuple[str, list[Any]]:
        text, parameters = self.process_lhs(compiler, connection)
        return f"{text} {condition}", [*parameters, pattern]


class CaseInsensitiveLike(Like):
    """ILIKE; on SQLite only the letters from A to Z have no case."""

    lookup_name = "ilike"

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        return self._sql(compiler, connection, "LIKE %s", self.rhs)

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        return self._sql(compiler, connection, "ILIKE %s ESCAPE ''", self.rhs)
