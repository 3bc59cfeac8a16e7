"""Which requests to a service are logged, and how much of each: pure."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import Field

from workspace.platform.validation import StrictModel, Text

REDACTED = "[redacted]"
LONGEST_KEPT = 64 * 1024
LARGEST_REDACTED = 1024 * 1024


class LogPolicy(StrictModel):
    """Which requests to a service are logged."""

    sample: float = Field(ge=0, le=1, description="The share of requests to log, 0 to 1.")
    redact: tuple[Text, ...] = Field(
        default=(), strict=False, max_length=100, description="Inputs whose values are not logged."
    )


NO_LOG = LogPolicy(sample=0.0)


def log_policy(stored: Mapping[str, Any]) -> LogPolicy:
    return LogPolicy(**stored) if stored else NO_LOG


def request_text(body: bytes, redact: Collection[str]) -> str:
    """Return what may be logged of a request's body, without the values of redacted inputs."""
    if not redact:
        return text_of(body)
    if len(body) > LARGEST_REDACTED:
        return f"(not kept: {len(body):,} bytes are too many to redact)"
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return f"(not kept: {len(body):,} bytes that are no JSON could not be redacted)"
    return text_of(json.dumps(_redacted(content, redact)).encode())


def response_text(body: bytes, redact: Collection[str], *, is_error: bool) -> str:
    """Return what may be logged of a response; an error may quote the input at fault."""
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


def _redacted(content: Any, redact: Collection[str]) -> Any:
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


def _named(values: Any, redact: Collection[str]) -> Any:
    if not isinstance(values, dict):
        return REDACTED
    return {name: REDACTED if name in redact else value for name, value in values.items()}
