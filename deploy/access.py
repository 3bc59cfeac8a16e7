"""Who may score: holders of keys, of API tokens, members who are signed in, or everybody.

Which of them is the opening of the service.
"""

import time
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.http import HttpRequest

from deploy.credentials import Credentials
from deploy.errors import GatewayError
from deploy.models import Opening, ServiceKey
from deploy.routes import FRESH_SECONDS, KeyTerms, Name, Route
from workspace.errors import Forbidden, NotFound
from workspace.middleware import HAS_ONE_TIME_PASSWORD
from workspace.models import Role, Scope
from workspace.selectors import membership_for
from workspace.tokens import SecretKind, digest_of, note_use, usable_token

MOST_CALLERS = 10_000
KEY_START = f"{SecretKind.SERVICE_KEY}_"
NO_KEYS_HERE = "This service takes no keys: send an API token of a member as a bearer token."


class Entry(NamedTuple):
    """A caller who may use a service, and how: by a key, or as whom."""

    name: Name
    route: Route
    caller: str
    key: KeyTerms | None = None


@dataclass(frozen=True)
class Grant:
    """What a token or session allows in one team; `refusal` says why it allows nothing.

    A member `may_score` everywhere, one who only `may_write` by the token where the team may.
    """

    caller: str = ""
    may_score: bool = False
    may_write: bool = False
    refusal: GatewayError | None = None


class Access:
    """Checks callers. What a token allows is remembered for a moment; keys come with the route."""

    def __init__(self) -> None:
        self._grants: dict[tuple[str, str, str], tuple[float, Grant]] = {}
        self._names: dict[str, Name] = {}

    async def check(
        self, name: Name, route: Route | None, credentials: Credentials, *, scores: bool
    ) -> Entry:
        """Give the caller if they may use the route; raises GatewayError if not.

        A stranger hears the same of a service that is there and of one that is not.
        """
        secret = credentials.secret
        opening = route.opening if route is not None else Opening.KEYS
        if opening == Opening.OPEN and route is not None:
            key = route.keys.get(digest_of(secret)) if secret.startswith(KEY_START) else None
            return Entry(name, route, f"{key.slot} key" if key else "", key)
        if secret.startswith(KEY_START):
            return await _check_key(name, route, digest_of(secret))
        if not secret and not (credentials.session and opening == Opening.TEAM):
            raise unauthorized("Send a key of the service or an API token as a bearer token.")
        if not secret and scores and credentials.is_foreign:
            raise GatewayError(
                403, "A page of another site sent this: send a bearer token, no cookie."
            )
        grant = await self._grant(name.team, credentials)
        if grant.refusal is not None:
            raise grant.refusal
        if route is None:
            raise unknown(name)
        if opening == Opening.TEAM:
            if scores and not grant.may_write:
                raise GatewayError(403, "Scoring needs a token with the scope write.")
        elif scores and not grant.may_score:
            raise GatewayError(403, "Scoring needs the role member and a token with scope write.")
        return Entry(name, route, grant.caller)

    async def name_of_key(self, secret: str) -> Name | None:
        """Give the service that a key is or was of."""
        digest = digest_of(secret)
        found = self._names.get(digest) or await _name_of_key(digest)
        if found is not None:
            if len(self._names) >= MOST_CALLERS:
                self._names.clear()
            self._names[digest] = found
        return found

    async def _grant(self, team: str, credentials: Credentials) -> Grant:
        place = credentials.secret, credentials.session, team
        known = self._grants.get(place)
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        began = time.monotonic()
        grant = await _load_grant(credentials, team)
        if len(self._grants) >= MOST_CALLERS:
            self._grants.clear()
        self._grants[place] = began, grant
        return grant


async def _check_key(name: Name, route: Route | None, digest: str) -> Entry:
    key = route.keys.get(digest) if route is not None else None
    if route is not None and key is not None:
        if route.opening == Opening.TOKENS:
            raise unauthorized(NO_KEYS_HERE)
        return Entry(name, route, f"{key.slot} key", key)
    team_id = await _team_of_key(digest)
    if team_id is None or (route is not None and route.team_id == team_id):
        raise unauthorized("This key does not open this service: it was replaced or is another's.")
    raise unknown(name)


def unauthorized(message: str) -> GatewayError:
    return GatewayError(401, message, {b"www-authenticate": b"Bearer"})


def unknown(name: Name) -> GatewayError:
    return GatewayError(404, f"There is no service {name.service!r} in a team {name.team!r}")


@database_sync_to_async
def _team_of_key(digest: str) -> int | None:
    return (
        ServiceKey.objects.filter(digest=digest).values_list("service__team_id", flat=True).first()
    )


@database_sync_to_async
def _name_of_key(digest: str) -> Name | None:
    found = (
        ServiceKey.objects.filter(digest=digest, service__deleted_at=None)
        .values_list("service__team__slug", "service__name")
        .first()
    )
    return Name(*found) if found else None


def load_grant(credentials: Credentials, team: str) -> Grant:
    """Read what a token, or a session, allows from the database."""
    if credentials.secret:
        token = usable_token(credentials.secret)
        if token is None:
            return _refused(unauthorized("This token is unknown, expired or revoked."))
        note_use(token)
        return _grant_of(token.user, team, writes=Scope(token.scope).covers(Scope.WRITE))
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(credentials.session)
    user = get_user(request)
    if not isinstance(user, User):
        return _refused(unauthorized("You are not signed in; sign in, or send an API token."))
    if request.session.get(HAS_ONE_TIME_PASSWORD):
        return _refused(GatewayError(403, "Change your one-time password first."))
    return _grant_of(user, team, writes=True)


def _grant_of(user: User, team: str, *, writes: bool) -> Grant:
    try:
        role = membership_for(user, team).role
    except NotFound as error:
        return _refused(GatewayError(404, error.message))
    except Forbidden as error:
        return _refused(GatewayError(403, error.message))
    return Grant(
        caller=user.get_username(),
        may_score=writes and Role(role).covers(Role.MEMBER),
        may_write=writes,
    )


def _refused(error: GatewayError) -> Grant:
    return Grant(refusal=error)


_load_grant = database_sync_to_async(load_grant, thread_sensitive=False)
