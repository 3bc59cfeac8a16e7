"""A database for one product: SQLite in its home, or one of its own on the tests' PostgreSQL."""

import os
import secrets
from urllib.parse import urlsplit

import psycopg
from psycopg import sql


class Database:
    def __init__(self, server: str | None = None) -> None:
        """Make one on the PostgreSQL with this URL, on the tests' unless one is named."""
        self._server = os.environ.get("DATABASE_URL", "") if server is None else server
        self._name = ""
        self.variables: dict[str, str] = {}
        if self._server.startswith("postgres"):
            self._name = f"trainyard_product_{secrets.token_hex(8)}"
            self._do("CREATE DATABASE {}")
            ours = urlsplit(self._server)._replace(path=f"/{self._name}")
            self.variables = {"DATABASE_URL": ours.geturl()}

    def drop(self) -> None:
        if self._name:
            self._do("DROP DATABASE {} WITH (FORCE)")
            self._name = ""

    def _do(self, statement: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self._name)))
