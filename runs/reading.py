"""Read untrusted JSON objects field by field, collecting every error with the field's name."""

import difflib
import json
import math
import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import Any

from workspace.errors import FieldError, Invalid

ANYTHING = re.compile(r"[^\x00]{1,1000}", re.DOTALL)


class Reader:
    """Reads the fields of one object; `finish` raises what was found wrong, all of it."""

    def __init__(
        self, data: object, *, prefix: str = "", errors: list[FieldError] | None = None
    ) -> None:
        self.errors: list[FieldError] = [] if errors is None else errors
        self.prefix = prefix
        self.is_object = isinstance(data, dict)
        self.data: dict[str, Any] = dict(data) if isinstance(data, dict) else {}
        if not self.is_object:
            self.errors.append(
                FieldError(prefix or "config", f"Use a JSON object, not {_kind(data)}.")
            )
        for name in [] if prefix else list(self.data):
            trouble = _unstorable({name: self.data[name]})
            if trouble:
                self.refuse(name.encode("ascii", "backslashreplace").decode()[:100], trouble)
                del self.data[name]

    def take(self, name: str) -> Any:
        return self.data.get(name)

    def refuse(self, name: str, message: str) -> None:
        """Note what is wrong with a field; the first complaint about it is the one that stands."""
        field = f"{self.prefix}.{name}" if self.prefix else name
        if all(error.field != field for error in self.errors):
            self.errors.append(FieldError(field, message))

    def text(
        self,
        name: str,
        default: str = "",
        *,
        pattern: re.Pattern[str] = ANYTHING,
        hint: str = "1 to 1,000 characters",
    ) -> str:
        value = self.take(name)
        if value is None and default:
            return default
        if value is None or value == "":
            self.refuse(name, f"{name} is required.")
        elif not isinstance(value, str):
            self.refuse(name, f"Use text, not {_kind(value)}.")
        elif not pattern.fullmatch(value):
            self.refuse(name, f"Use {hint}, without control characters.")
        else:
            return value
        return default

    def path(self, name: str, *, required: bool = False) -> str:
        """Read a relative path inside the source directory, in its normal form."""
        value = self.take(name)
        if value is None or value == "":
            if required:
                self.refuse(name, f"{name} is required.")
            return ""
        if not isinstance(value, str):
            self.refuse(name, f"Use text, not {_kind(value)}.")
            return ""
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value or "\0" in value:
            self.refuse(name, "Use a path inside the source directory, relative to its root.")
            return ""
        return str(path)

    def texts(self, name: str) -> list[str]:
        value = self.take(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.refuse(name, 'Use a list of texts, such as ["scikit-learn==1.7"].')
            return []
        return [item.strip() for item in value if item.strip()]

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.take(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse(name, f"Use a JSON object, not {_kind(value)}.")
            return {}
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.take(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.refuse(name, f"Use true or false, not {_kind(value)}.")
        return default

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        value = self.optional_integer(name, low=low, high=high)
        return default if value is None else value

    def optional_integer(self, name: str, *, low: int, high: int) -> int | None:
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(name, f"Use a whole number, not {_kind(value)}.")
        elif value < low:
            self.refuse(name, f"{_spoken(name)} should be at least {low}; it is {value}.")
        elif value > high:
            self.refuse(name, f"{_spoken(name)} should be at most {high:,}; it is {value:,}.")
        else:
            return value
        return None

    def decimal(self, name: str, *, low: float, high: float) -> float | None:
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.refuse(name, f"Use a number, not {_kind(value)}.")
        elif not math.isfinite(value) or not low <= value <= high:
            self.refuse(name, f"{_spoken(name)} should be from {low:g} to {high:g}.")
        else:
            return float(value)
        return None

    def choice(self, name: str, options: list[str]) -> str:
        """Read one of `options`; the first one is the default."""
        value = self.take(name)
        if value is None:
            return options[0]
        if value not in options:
            self.refuse(name, f"{_shown(value)} is not one of {', '.join(options)}.")
            return options[0]
        return str(value)

    def finish(self, known: Collection[str]) -> None:
        """Refuse unknown fields, each with the nearest known one; raise all errors of the root."""
        for name in sorted(self.data.keys() - set(known)):
            near = _nearest(name, known)
            advice = f"did you mean {near}?" if near else "see the documentation for the names."
            self.refuse(name[:100], f"Unknown field: {advice}")
        if not self.prefix and self.errors:
            raise Invalid("The configuration has errors.", errors=self.errors)


def _unstorable(value: object) -> str:
    """Say why a value cannot be kept as JSON in UTF-8, if so."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "It holds half of a surrogate pair, which is no character."
    except RecursionError:
        return "It is nested too deeply."
    return ""


def _nearest(name: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)), "")


def _spoken(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= 60 else f"{_kind(value)} of that length"


def _kind(value: object) -> str:
    names: dict[type, str] = {
        type(None): "null",
        bool: "a boolean",
        int: "a whole number",
        float: "a decimal number",
        str: "text",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)
