"""Text from programs, and from whoever reports on them, made safe to keep and to show."""

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# What PostgreSQL (NUL) or UTF-8 (halves of a pair) cannot hold.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def clean_text(text: str, limit: int) -> str:
    """Return text that any database holds, of at most `limit` characters."""
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return UNSTORABLE.sub(REPLACEMENT, cut)
