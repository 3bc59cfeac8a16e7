"""Who calls the API: a bearer token, or a page of ours with its session and CSRF token.

Paths that name a team are closed here to strangers, and to viewers where they write, before any
endpoint reads the request.
"""

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja.security import HttpBearer, SessionAuth

from workspace.accounts.passwords import HAS_ONE_TIME_PASSWORD
from workspace.accounts.selectors import membership_for
from workspace.accounts.tokens import record_use, usable_token
from workspace.models import Role, Scope
from workspace.platform.errors import Forbidden, NotFound

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def require_role(request: HttpRequest, user: User, *, admin: bool) -> None:
    """Refuse a caller whose role in the team that the path names is too small."""
    names = request.resolver_match.kwargs if request.resolver_match else {}
    if any("\0" in str(name) for name in names.values()):
        # PostgreSQL takes no NUL in a text, not even to look for it.
        raise NotFound("Page not found.")
    slug = names.get("slug")
    if slug is None:
        return
    reads = Role.VIEWER if request.method in SAFE_METHODS else Role.MEMBER
    membership_for(user, slug, Role.ADMIN if admin else reads)


class TokenAuth(HttpBearer):
    """Accept API tokens: reading needs the scope read, all else write, or admin where asked."""

    def __init__(self, *, admin: bool = False) -> None:
        super().__init__()
        self.admin = admin

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        found = usable_token(token)
        if found is None:
            return None
        require_role(request, found.user, admin=self.admin)
        reads = Scope.READ if request.method in SAFE_METHODS else Scope.WRITE
        needed = Scope.ADMIN if self.admin else reads
        if not Scope(found.scope).covers(needed):
            raise Forbidden(
                f"This needs a token with the scope {needed}; this one's is {found.scope}."
            )
        record_use(found)
        return found.user


class BrowserSessionAuth(SessionAuth):
    """Accept the session of a logged-in page, with its CSRF token on anything that writes."""

    def __init__(self, *, admin: bool = False) -> None:
        super().__init__()
        self.admin = admin

    def __call__(self, request: HttpRequest) -> Any | None:
        user = request.user
        # A caller without a session hears that it must log in (401), not of CSRF tokens (403).
        if "Authorization" in request.headers or not isinstance(user, User):
            return None
        if request.session.get(HAS_ONE_TIME_PASSWORD):
            raise Forbidden("Change your one-time password first, on the account's password page.")
        caller = super().__call__(request)
        require_role(request, user, admin=self.admin)
        return caller


API_AUTH = [TokenAuth(), BrowserSessionAuth()]
ADMIN_API_AUTH = [TokenAuth(admin=True), BrowserSessionAuth(admin=True)]
