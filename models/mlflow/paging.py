"""Tokens of pages: where the next one starts, bound to what was asked."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from workspace.platform.errors import Invalid

MAX_TOKEN = 200
MAX_OFFSET = 10**9


def page_token(start: int, query: object) -> str:
    return urlsafe_b64encode(json.dumps([start, _digest(query)]).encode()).decode()


def start_of(token: str, query: object) -> int:
    """Return where the page of a token starts. Raises Invalid for that of another query."""
    if not token:
        return 0
    try:
        start, digest = json.loads(urlsafe_b64decode(token[:MAX_TOKEN]))
        is_ours = digest == _digest(query) and type(start) is int and 0 <= start <= MAX_OFFSET
    except (ValueError, TypeError, RecursionError):
        is_ours = False
    if not is_ours:
        raise Invalid(
            "Invalid value for parameter 'page_token': use that of the previous page, with the same"
            " search."
        )
    return int(start)


def _digest(query: object) -> str:
    return sha256(repr(query).encode()).hexdigest()[:16]
