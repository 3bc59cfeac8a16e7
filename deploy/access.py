"""Who may score: holders of a service's keys, and members of its team with a token of theirs."""

import time
from dataclasses import dataclass

from channels.db import database_sync_to_async

from deploy.errors import GatewayError
from deploy.models import ServiceKey
from deploy.routes import FRESH_SECONDS, Name, Route
from workspace.errors import Forbidden, NotFound
from workspace.models import Role, Scope
from workspace.selectors import membership_for
from workspace.tokens import SecretKind, digest_of, note_use, usable_token

MOST_CALLERS = 10_000
KEY_START = f"{SecretKind.SERVICE_KEY}_"


@dataclass(frozen=True)
class Grant:
    """What a token allows in one team; `refusal` says why it allows nothing."""

    reads: bool = False
    scores: bool = False
    refusal: GatewayError | None = None


class Access:
    """Checks callers. What a token allows is remembered for a moment; keys come with the route."""

    def __init__(self) -> None:
        self._grants: dict[tuple[str, str], tuple[float, Grant]] = {}

    async def check(self, name: Name, route: Route | None, secret: str, *, scores: bool) -> Route:
        """Give the route if the holder of `secret` may use it; raises GatewayError if not.

        A stranger hears the same of a service that is there and of one that is not.
        """
        if not secret:
            raise unauthorized("Send a key of the service or an API token as a bearer token.")
        if secret.startswith(KEY_START):
            return await _check_key(name, route, digest_of(secret))
        grant = await self._grant(secret, name.team)
        if grant.refusal is not None:
            raise grant.refusal
        if route is None:
            raise unknown(name)
        if scores and not grant.scores:
            raise GatewayError(403, "Scoring needs the role member and a token with scope write.")
        return route

    async def _grant(self, secret: str, team: str) -> Grant:
        known = self._grants.get((secret, team))
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        began = time.monotonic()
        grant = await _load_grant(secret, team)
        if len(self._grants) >= MOST_CALLERS:
            self._grants.clear()
        self._grants[secret, team] = began, grant
        return grant


async def _check_key(name: Name, route: Route | None, digest: str) -> Route:
    if route is not None and digest in route.key_digests:
        return route
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


def load_grant(secret: str, team: str) -> Grant:
    """Read what a token allows from the database."""
    token = usable_token(secret)
    if token is None:
        return Grant(refusal=unauthorized("This token is unknown, expired or revoked."))
    note_use(token)
    try:
        role = membership_for(token.user, team).role
    except NotFound as error:
        return Grant(refusal=GatewayError(404, error.message))
    except Forbidden as error:
        return Grant(refusal=GatewayError(403, error.message))
    writes = Scope(token.scope).covers(Scope.WRITE) and Role(role).covers(Role.MEMBER)
    return Grant(reads=True, scores=writes)


_load_grant = database_sync_to_async(load_grant, thread_sensitive=False)
