"""Who calls the API: a bearer token, or a page of ours with its session and CSRF token."""

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja.security import HttpBearer, SessionAuth

from workspace.errors import Forbidden
from workspace.middleware import HAS_ONE_TIME_PASSWORD
from workspace.models import Scope
from workspace.tokens import note_use, usable_token

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class TokenAuth(HttpBearer):
    """Accept API tokens: reading needs the scope read, all else write, or what `needs` says."""

    def __init__(self, needs: Scope | None = None) -> None:
        super().__init__()
        self.needs = needs

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        found = usable_token(token)
        if found is None:
            return None
        needed = self.needs or (Scope.READ if request.method in SAFE_METHODS else Scope.WRITE)
        if not Scope(found.scope).covers(needed):
            raise Forbidden(
                f"This needs a token with the scope {needed.value}; this one's is {found.scope}."
            )
        note_use(found)
        return found.user


class PageAuth(SessionAuth):
    """Accept the session of a logged-in page, with its CSRF token on anything that writes."""

    def __call__(self, request: HttpRequest) -> Any | None:
        # A caller without a session hears that it must log in (401), not of CSRF tokens (403).
        if "Authorization" in request.headers or not request.user.is_authenticated:
            return None
        if request.session.get(HAS_ONE_TIME_PASSWORD):
            raise Forbidden("Change your one-time password first, on the account's password page.")
        return super().__call__(request)


CALLERS = [TokenAuth(), PageAuth()]
ADMIN_CALLERS = [TokenAuth(needs=Scope.ADMIN), PageAuth()]
