"""Who may score: holders of keys, of API tokens, members who are signed in, or everybody.

Which of them is the access policy of the service.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple, TypeVar

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.db import Error
from django.http import HttpRequest

from deploy.events import ServiceName
from deploy.gateway.credentials import Credentials
from deploy.gateway.errors import GatewayError
from deploy.gateway.recent_values import DatabaseAway, RecentValues
from deploy.gateway.routes import KeyPolicy, ServiceRoute
from deploy.models import AccessPolicy, ServiceKey
from workspace.accounts.passwords import HAS_ONE_TIME_PASSWORD
from workspace.accounts.selectors import membership_for
from workspace.accounts.tokens import (
    SecretKind,
    digest_of,
    is_revoked_since,
    record_use,
    usable_token,
)
from workspace.models import Role, Scope
from workspace.platform.errors import Forbidden, NotFound

MOST_CALLERS = 10_000
KEY_START = f"{SecretKind.SERVICE_KEY}_"
Answer = TypeVar("Answer")
NO_KEYS_HERE = "This service accepts no keys: send a member's API token as a bearer token."


class AuthorizedCall(NamedTuple):
    """A caller who may use a service, and how: by a key, or as whom."""

    name: ServiceName
    route: ServiceRoute
    principal: str
    key: KeyPolicy | None = None


class GrantKey(NamedTuple):
    """What a grant is found by: a token, or a session, and a team."""

    secret: str
    session: str
    team: str


@dataclass(frozen=True)
class TeamGrant:
    """What a token or session allows in one team; `refusal` says why it allows nothing.

    A member `may_score` everywhere, one who only `may_write` by the token where the team may.
    """

    principal: str = ""
    may_score: bool = False
    may_write: bool = False
    refusal: GatewayError | None = None


class Authorizer:
    """Checks callers. What a token allows is remembered for a moment; keys come with the route."""

    def __init__(self) -> None:
        self._grants: RecentValues[GrantKey, TeamGrant] = RecentValues(
            _load_grant, lambda _, at: is_revoked_since(at)
        )
        self._names: dict[str, ServiceName] = {}

    async def check(
        self,
        name: ServiceName,
        route: ServiceRoute | None,
        credentials: Credentials,
        *,
        scores: bool,
    ) -> AuthorizedCall:
        """Return the caller if they may use the route; raises GatewayError if not.

        A stranger hears the same of a service that is there and of one that is not.
        """
        secret = credentials.secret
        policy = route.access_policy if route is not None else AccessPolicy.KEYS
        if policy == AccessPolicy.PUBLIC and route is not None:
            key = route.keys.get(digest_of(secret)) if secret.startswith(KEY_START) else None
            return AuthorizedCall(name, route, f"{key.slot} key" if key else "", key)
        if secret.startswith(KEY_START):
            return await _check_key(name, route, digest_of(secret))
        if not secret and not (credentials.session and policy == AccessPolicy.TEAM):
            raise unauthorized("Send a key of the service or an API token as a bearer token.")
        if not secret and scores and credentials.is_foreign:
            raise GatewayError(
                403, "Cross-site request with a cookie: send a bearer token instead."
            )
        grant = await self._grants.get(GrantKey(credentials.secret, credentials.session, name.team))
        if grant.refusal is not None:
            raise grant.refusal
        if route is None:
            raise unknown(name)
        if policy == AccessPolicy.TEAM:
            if scores and not grant.may_write:
                raise GatewayError(403, "Scoring needs a token with the scope write.")
        elif scores and not grant.may_score:
            raise GatewayError(403, "Scoring needs the role member and a token with scope write.")
        return AuthorizedCall(name, route, grant.principal)

    async def name_of_key(self, secret: str) -> ServiceName | None:
        """Return the service that a key is or was of."""
        digest = digest_of(secret)
        found = self._names.get(digest) or await _asked(_name_of_key(digest))
        if found is not None:
            if len(self._names) >= MOST_CALLERS:
                self._names.clear()
            self._names[digest] = found
        return found


async def _check_key(name: ServiceName, route: ServiceRoute | None, digest: str) -> AuthorizedCall:
    key = route.keys.get(digest) if route is not None else None
    if route is not None and key is not None:
        if route.access_policy == AccessPolicy.TOKENS:
            raise unauthorized(NO_KEYS_HERE)
        return AuthorizedCall(name, route, f"{key.slot} key", key)
    team_id = await _asked(_team_of_key(digest))
    if team_id is None or (route is not None and route.team_id == team_id):
        raise unauthorized("Invalid key: it was replaced or belongs to another service.")
    raise unknown(name)


async def _asked(question: Awaitable[Answer]) -> Answer:
    try:
        return await question
    except Error as error:
        raise DatabaseAway from error


def unauthorized(message: str) -> GatewayError:
    return GatewayError(401, message, {b"www-authenticate": b"Bearer"})


def unknown(name: ServiceName) -> GatewayError:
    return GatewayError(404, f"There is no service {name.service!r} in a team {name.team!r}")


@database_sync_to_async
def _team_of_key(digest: str) -> int | None:
    return (
        ServiceKey.objects.filter(digest=digest).values_list("service__team_id", flat=True).first()
    )


@database_sync_to_async
def _name_of_key(digest: str) -> ServiceName | None:
    found = (
        ServiceKey.objects.filter(digest=digest, service__deleted_at=None)
        .values_list("service__team__slug", "service__name")
        .first()
    )
    return ServiceName(*found) if found else None


def load_grant(key: GrantKey) -> TeamGrant:
    """Read what a token, or a session, allows from the database."""
    if key.secret:
        token = usable_token(key.secret)
        if token is None:
            return _refused(unauthorized("This token is unknown, expired or revoked."))
        record_use(token)
        return _grant_of(token.user, key.team, writes=Scope(token.scope).covers(Scope.WRITE))
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key.session)
    user = get_user(request)
    if not isinstance(user, User):
        return _refused(unauthorized("You are not logged in: log in, or send an API token."))
    if request.session.get(HAS_ONE_TIME_PASSWORD):
        return _refused(GatewayError(403, "Change your one-time password first."))
    return _grant_of(user, key.team, writes=True)


def _grant_of(user: User, team: str, *, writes: bool) -> TeamGrant:
    try:
        role = membership_for(user, team).role
    except NotFound as error:
        return _refused(GatewayError(404, error.message))
    except Forbidden as error:
        return _refused(GatewayError(403, error.message))
    return TeamGrant(
        principal=user.get_username(),
        may_score=writes and Role(role).covers(Role.MEMBER),
        may_write=writes,
    )


def _refused(error: GatewayError) -> TeamGrant:
    return TeamGrant(refusal=error)


_load_grant = database_sync_to_async(load_grant, thread_sensitive=False)
