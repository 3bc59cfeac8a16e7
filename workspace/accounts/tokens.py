"""Secrets that are shown once and kept as SHA-256 digests."""

import binascii
import hashlib
import secrets
import time
from base64 import b64decode
from datetime import timedelta
from enum import StrEnum

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from workspace.models import ApiToken

SHOWN_PREFIX = 9
RECORD_USE_INTERVAL = timedelta(minutes=1)


class SecretKind(StrEnum):
    """What a secret is for; every secret starts with its kind."""

    API_TOKEN = "ty"  # noqa: S105
    SERVICE_KEY = "tk"
    PROCESS_TOKEN = "tp"  # noqa: S105
    INVITATION = "ti"


def new_secret(kind: SecretKind) -> tuple[str, str, str]:
    """Make a secret; return it, its digest to store, and a prefix that people may see again."""
    secret = f"{kind}_{secrets.token_hex(20)}"
    return secret, digest_of(secret), secret[:SHOWN_PREFIX]


def digest_of(secret: str) -> str:
    # A plain hash is enough: the secrets hold 160 random bits, so there is nothing to guess.
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def usable_token(secret: str) -> ApiToken | None:
    """Return a caller's API token, unless it is revoked, expired or its user is disabled."""
    token = (
        ApiToken.objects.select_related("user")
        .filter(digest=digest_of(secret), user__is_active=True)
        .first()
    )
    return token if token is not None and token.is_usable else None


def token_in(authorization: str) -> str:
    """Return the token of an Authorization header: of Bearer, or the password of Basic.

    The user name of Basic means nothing, as a token names its user.
    """
    kind, _, given = authorization.partition(" ")
    if kind.lower() == "bearer":
        return given.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def record_use(token: ApiToken) -> None:
    """Remember that a token was used, at most once a minute."""
    now = timezone.now()
    if token.last_used_at is not None and token.last_used_at > now - RECORD_USE_INTERVAL:
        return
    ApiToken.objects.filter(
        Q(last_used_at=None) | Q(last_used_at__lte=now - RECORD_USE_INTERVAL), pk=token.pk
    ).update(last_used_at=now)


_revoked_at = float("-inf")


def note_revocation() -> None:
    """Say, once it is in the database, that some access was taken away or made less."""

    def note() -> None:
        global _revoked_at
        _revoked_at = time.monotonic()

    transaction.on_commit(note)


def is_revoked_since(at: float) -> bool:
    """Return whether this process took some access away at or after a monotonic time."""
    return _revoked_at >= at
