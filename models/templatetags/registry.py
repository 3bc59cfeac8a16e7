"""How pages of the registry write what they compare."""

from typing import Any

from django import template
from django.template.defaultfilters import filesizeformat

register = template.Library()

SHOWN_OF_A_DIGEST = 12
DIGEST_LENGTH = 64
NOTHING = "\N{EN DASH}"


@register.filter
def compared(value: Any, name: str) -> str:
    """Write a value of a comparison, in few words."""
    if value is None:
        return NOTHING
    if name == "bytes":
        return str(filesizeformat(value))
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text[:SHOWN_OF_A_DIGEST] if len(text) == DIGEST_LENGTH else text
