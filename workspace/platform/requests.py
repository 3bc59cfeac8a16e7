"""What pages and API endpoints may rely on of a request: its caller, and bounded numbers."""

from django.contrib.auth.models import User
from django.http import HttpRequest

MAX_DIGITS = 9


def is_whole_number(text: str, *, max_digits: int = MAX_DIGITS) -> bool:
    """Return whether a text is a whole number from 0 up that every database can hold."""
    return len(text) <= max_digits and text.isascii() and text.isdigit()


class SignedInRequest(HttpRequest):
    """A page's request after the log-in check."""

    user: User


class ApiRequest(HttpRequest):
    """An API request whose token or session was accepted; `auth` is the caller."""

    auth: User
