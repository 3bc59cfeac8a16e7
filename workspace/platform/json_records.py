"""Typed facts that leave the process as JSON: events in the database, websocket messages."""

import dataclasses
from typing import Any, ClassVar, Self


class JsonRecord:
    """A frozen dataclass with a `type`, whose fields are the fields of its JSON object.

    A field whose name is a Python keyword ends in an underscore, which the JSON leaves out.
    """

    type: ClassVar[str]

    @classmethod
    def json_fields(cls) -> dict[str, str]:
        """Return the name of each field in JSON, and as an attribute."""
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        return {name.rstrip("_"): name for name in names}

    def to_json(self) -> dict[str, Any]:
        """Return the fields, without the type, as JSON takes them."""
        values = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {name: values[attribute] for name, attribute in self.json_fields().items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Return the record that `data` holds; raise TypeError for unknown or missing fields."""
        names = cls.json_fields()
        return cls(**{names.get(name, name): value for name, value in data.items()})
