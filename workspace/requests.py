"""Requests whose caller is known: what pages and API endpoints may rely on."""

from django.contrib.auth.models import User
from django.http import HttpRequest


class SignedInRequest(HttpRequest):
    """A page's request after the log-in check."""

    user: User


class ApiRequest(HttpRequest):
    """An API request whose token or session was accepted; `auth` is the caller."""

    auth: User
