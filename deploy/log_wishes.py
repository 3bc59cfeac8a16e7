"""What a service keeps of the requests to it: pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REDACTED = "[redacted]"
LONGEST_KEPT = 64 * 1024
LARGEST_REDACTED = 1024 * 1024


@dataclass(frozen=True)
class LogWish:
    """The share of the requests to keep, and the inputs whose values are not to be kept."""

    sample: float
    redact: frozenset[str]


NO_LOG = LogWish(0.0, frozenset())


def read_wish(stored: Mapping[str, Any]) -> LogWish:
    if not stored:
        return NO_LOG
    return LogWish(float(stored.get("sample", 0.0)), frozenset(stored.get("redact", ())))


def request_text(body: bytes, redact: frozenset[str]) -> str:
    """Give what may be kept of a request's body, without the values of the inputs to redact."""
    if not redact:
        return text_of(body)
    if len(body) > LARGEST_REDACTED:
        return f"(not kept: {len(body):,} bytes are too many to redact)"
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return f"(not kept: {len(body):,} bytes that are no JSON could not be redacted)"
    return text_of(json.dumps(_redacted(content, redact)).encode())


def answer_text(body: bytes, redact: frozenset[str], *, is_error: bool) -> str:
    """Give what may be kept of an answer; an error may quote the input at fault."""
    if redact and is_error:
        return "(not kept: an error may quote an input that is redacted)"
    return text_of(body)


def text_of(body: bytes) -> str:
    whole = len(body) <= LONGEST_KEPT
    try:
        # A cut may go through a letter, which is no reason to call it something else than text.
        text = body[:LONGEST_KEPT].decode(errors="strict" if whole else "ignore")
    except UnicodeDecodeError:
        return f"({len(body):,} bytes that are no text)"
    return text.replace("\0", "\ufffd")  # PostgreSQL takes no NUL in a text


def _redacted(content: Any, redact: frozenset[str]) -> Any:
    """Hide inputs by name. Values without a name may be any input's, so they are hidden too."""
    if not isinstance(content, dict):
        return REDACTED
    kept = {name: value for name, value in content.items() if name == "signature_name"}
    for name in ("instances", "examples"):
        rows = content.get(name, [])
        if name in content:
            is_list = isinstance(rows, list)
            kept[name] = [_named(row, redact) for row in rows] if is_list else REDACTED
    for name in ("inputs", "context"):
        if name in content:
            kept[name] = _named(content[name], redact)
    return kept


def _named(values: Any, redact: frozenset[str]) -> Any:
    if not isinstance(values, dict):
        return REDACTED
    return {name: REDACTED if name in redact else value for name, value in values.items()}
