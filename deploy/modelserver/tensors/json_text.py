"""JSON text as the server reads and quotes it: exact, never recursive, at any depth.

Python's own parser recurses, merges `1.0e400` into infinity and keeps the last of two equal keys;
TensorFlow Serving's does not recurse, refuses such a number and keeps the first.
"""

import json
import json.decoder
import re
from collections.abc import Callable
from typing import Any

from ..errors import invalid

# Deeper than any tensor; values of other keys may be nested at any depth.
MAX_TENSOR_DEPTH = 40
TENSOR_KEYS = frozenset({"instances", "inputs"})
QUOTED_LENGTH = 512

_TOKEN = re.compile(
    r"""[ \t\n\r]*(?:
        (?P<mark>[\[\]{},:"])
      | (?P<whole>-?(?:0|[1-9][0-9]*))(?P<decimals>\.[0-9]+)?(?P<exponent>[eE][-+]?[0-9]+)?
      | (?P<word>true|false|null|-?(?:NaN|Infinity|Inf))
    )""",
    re.VERBOSE,
)
# The standard library's own reader of strings, in C; only its type stub leaves it out.
_read_string: Callable[[str, int, bool], tuple[str, int]]
_read_string = json.decoder.scanstring  # type: ignore[attr-defined]
_SPACE = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS: dict[str, Any] = {
    "true": True,
    "false": False,
    "null": None,
    "NaN": float("nan"),
    "-NaN": float("nan"),
    "Infinity": float("inf"),
    "Inf": float("inf"),
    "-Infinity": float("-inf"),
    "-Inf": float("-inf"),
}
_STRING_ERRORS = {
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid control character": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX": "Incorrect hex digit after \\u escape in string.",
}


class _Malformed(Exception):
    def __init__(self, reason: str, position: int) -> None:
        self.reason = reason
        self.position = position


def parse(body: bytes) -> Any:
    """Read one JSON document; bytes that are not UTF-8 survive inside strings.

    Whole numbers within 64 bits come back as int, all others as float. The first of two equal
    keys wins.
    """
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    start = _end_of_space(text, 0)
    if start == len(text):
        raise invalid("JSON Parse error: The document is empty")
    try:
        return _parse(text, start)
    except _Malformed as bad:
        offset = len(text[: bad.position].encode("utf-8", "surrogateescape"))
        message = f"JSON Parse error: {bad.reason} at offset: {offset}"
        raise invalid(message) from None


def quote(value: Any) -> str:
    """Write a value for an error message, cut where it gets long."""
    pieces: list[str] = []
    length = 0
    todo: list[Any] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, _Raw):
            piece = item
        elif isinstance(item, dict):
            piece = _Raw("{")
            todo.append(_Raw("}"))
            # Only what can still be printed is unfolded, so a huge value costs nothing.
            for index, (key, member) in reversed(list(enumerate(_first(item.items())))):
                todo += [member, _Raw(": "), key]
                if index:
                    todo.append(_Raw(", "))
        elif isinstance(item, list):
            piece = _Raw("[")
            todo.append(_Raw("]"))
            for index, member in reversed(list(enumerate(_first(item)))):
                todo.append(member)
                if index:
                    todo.append(_Raw(", "))
        elif isinstance(item, str):
            shown = item[:QUOTED_LENGTH].encode("utf-8", "surrogateescape")
            piece = _Raw(json.dumps(shown.decode("utf-8", "replace"), ensure_ascii=False))
        else:
            piece = _Raw(json.dumps(item))
        pieces.append(piece)
        length += len(piece)
        if length > QUOTED_LENGTH:
            return "".join(pieces)[:QUOTED_LENGTH] + "..."
    return "".join(pieces)


def kind(value: Any) -> str:
    """Name a value's JSON type as TensorFlow Serving's messages do."""
    if value is None:
        return "Null"
    if value is True:
        return "True"
    if value is False:
        return "False"
    if isinstance(value, dict):
        return "Object"
    if isinstance(value, list):
        return "Array"
    return "String" if isinstance(value, str) else "Number"


def whole_number(text: str) -> int | float:
    """Read digits as an int of 64 bits, or as the nearest float where they are too many."""
    if len(text) <= 20:
        number = int(text)
        if -(2**63) <= number < 2**64:
            return number
    return finite_number(text)


def finite_number(text: str) -> float:
    """Read a decimal number; OverflowError where it is too big."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise OverflowError(text)
    return number


class _Raw(str):
    __slots__ = ()


def _first(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(QUOTED_LENGTH), strict=False)]


def _end_of_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _parse(text: str, position: int) -> Any:
    """Walk the tokens with a stack of open containers instead of recursion."""
    open_containers: list[Any] = []
    keys: list[str] = []
    while True:
        found = _TOKEN.match(text, position)
        if found is None:
            raise _malformed_token(text, position)
        position = found.end()
        mark = found["mark"]
        value: Any
        if mark is None:
            value = _scalar(found)
        elif mark == '"':
            value, position = _string(text, position)
        elif mark == "[" or mark == "{":
            container: Any = [] if mark == "[" else {}
            open_containers.append(container)
            _refuse_too_deep(open_containers, keys)
            after = _end_of_space(text, position)
            if text.startswith("]" if mark == "[" else "}", after):
                position = after + 1
                value = open_containers.pop()
            else:
                if mark == "{":
                    key, position = _key(text, position)
                    keys.append(key)
                continue
        else:
            raise _Malformed("Invalid value.", found.start("mark"))

        # The value is whole: put it away, and close every container that ends with it.
        while True:
            position = _end_of_space(text, position)
            if not open_containers:
                if position != len(text):
                    raise _Malformed(
                        "The document root must not be followed by other values.", position
                    )
                return value
            holder = open_containers[-1]
            next_mark = text[position : position + 1]
            if isinstance(holder, list):
                holder.append(value)
                if next_mark == ",":
                    position += 1
                    break
                if next_mark != "]":
                    raise _Malformed("Missing a comma or ] after an array element.", position)
            else:
                holder.setdefault(keys[-1], value)
                if next_mark == ",":
                    keys[-1], position = _key(text, position + 1)
                    break
                if next_mark != "}":
                    raise _Malformed("Missing a comma or } after an object member.", position)
                keys.pop()
            value = open_containers.pop()
            position += 1


def _refuse_too_deep(open_containers: list[Any], keys: list[str]) -> None:
    if len(open_containers) <= MAX_TENSOR_DEPTH:
        return
    root_is_object = isinstance(open_containers[0], dict)
    if not root_is_object or keys[0] in TENSOR_KEYS:
        where = f"'{keys[0]}'" if root_is_object else "The document"
        raise invalid(f"{where} is nested more than {MAX_TENSOR_DEPTH} levels deep")


def _malformed_token(text: str, position: int) -> _Malformed:
    position = _end_of_space(text, position)
    return _Malformed("Invalid value.", position)


def _scalar(found: re.Match[str]) -> Any:
    word = found["word"]
    if word is not None:
        return _WORDS[word]
    whole, decimals, exponent = found["whole"], found["decimals"], found["exponent"]
    rest = found.string[found.end() : found.end() + 1]
    if decimals is None and exponent is None and rest == ".":
        raise _Malformed("Miss fraction part in number.", found.end() + 1)
    if exponent is None and rest in ("e", "E"):
        raise _Malformed("Miss exponent in number.", found.end() + 1)
    try:
        if decimals is None and exponent is None:
            return whole_number(whole)
        return finite_number(whole + (decimals or "") + (exponent or ""))
    except OverflowError:
        reason = "Number too big to be stored in double."
        raise _Malformed(reason, found.start("whole")) from None


def _key(text: str, position: int) -> tuple[str, int]:
    position = _end_of_space(text, position)
    if not text.startswith('"', position):
        raise _Malformed("Missing a name for object member.", position)
    key, position = _string(text, position + 1)
    position = _end_of_space(text, position)
    if not text.startswith(":", position):
        raise _Malformed("Missing a colon after a name of object member.", position)
    return key, position + 1


def _string(text: str, start: int) -> tuple[str, int]:
    try:
        value, end = _read_string(text, start, True)
    except json.JSONDecodeError as bad:
        for prefix, reason in _STRING_ERRORS.items():
            if bad.msg.startswith(prefix):
                raise _Malformed(reason, bad.pos) from None
        raise _Malformed(f"{bad.msg}.", bad.pos) from None
    if _SURROGATE.search(value) and "\\u" in text[start:end]:
        # Bytes that are not UTF-8 show up as surrogates too, but in the text itself as well.
        written = _SURROGATE.findall(text[start:end])
        if len(_SURROGATE.findall(value)) > len(written):
            raise _Malformed("The surrogate pair in string is invalid.", start)
    return value, end
