"""How pages of the registry write what they compare."""

from typing import Any

from django import template

from workspace.sizes import size_text

register = template.Library()

SHORT_DIGEST_LENGTH = 12
DIGEST_LENGTH = 64
NOTHING = "\N{EN DASH}"


@register.filter
def compared(value: Any, name: str) -> str:
    """Write a value of a comparison, in few words."""
    if value is None:
        return NOTHING
    if name == "bytes":
        return size_text(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text[:SHORT_DIGEST_LENGTH] if len(text) == DIGEST_LENGTH else text
