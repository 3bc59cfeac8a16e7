"""How the tests of reports call what brings files in."""

from collections.abc import Callable
from typing import Any

# With the files, the status expected and the fields of the configuration.
Submit = Callable[..., Any]
# With the archive and the status expected.
Send = Callable[..., Any]


def said_of(answer: Any, field: str) -> list[str]:
    """Return what an answer of REST says of a field."""
    return [error["message"] for error in answer["errors"] if error["field"] == field]
