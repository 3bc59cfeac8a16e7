"""Fields that PostgreSQL would otherwise keep in an order of its own."""

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import JSONField


class OrderedJSONField(JSONField):
    """JSON whose objects keep the order of their names: script parameters become arguments.

    PostgreSQL's jsonb sorts names; its json keeps the text as it came.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "json" if connection.vendor == "postgresql" else super().db_type(connection)
