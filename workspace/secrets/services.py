"""The verbs of a team's secrets: store, replace, delete, and read for the start of a run."""

import difflib
import re
from collections.abc import Collection, Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from workspace.audit import audit
from workspace.models import Team, TeamSecret
from workspace.platform.encryption import decrypt, encrypt
from workspace.platform.errors import Conflict, FieldError, Invalid, NotFound

MAX_VALUE_BYTES = 64 * 1024
MAX_BYTES_OF_A_RUN = 128 * 1024
MAX_SECRETS = 200
SECRET_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,63}")
NAME_HINT = (
    "1 to 64 letters, digits, hyphens, dots and underscores, starting with a letter or digit"
)


class SecretUnavailable(Conflict):
    """A run needs a secret that was deleted, or that cannot be decrypted any more."""


def secrets_of(team: Team) -> QuerySet[TeamSecret]:
    """Return a team's secrets by name, with who created them."""
    return TeamSecret.objects.filter(team=team).select_related("created_by").order_by("name")


def secret_of(team: Team, name: str) -> TeamSecret:
    found = secrets_of(team).filter(name=name).first()
    if found is None:
        raise NotFound(unknown_secret(name, secrets_of(team).values_list("name", flat=True)))
    return found


def unknown_secret(name: str, known: Iterable[str]) -> str:
    """Return the message for a name that no secret has, with the nearest one that is there."""
    near = difflib.get_close_matches(name[:64], list(known), n=1, cutoff=0.5)
    advice = f"Did you mean {near[0]}?" if near else "An admin of the team can add it."
    return f"The team has no secret {name[:64]!r}. {advice}"


def size_problem(secrets: Iterable[TeamSecret]) -> str:
    """Return why these secrets cannot be those of one run, if so."""
    size = sum(secret.size_bytes for secret in secrets)
    if size <= MAX_BYTES_OF_A_RUN:
        return ""
    return (
        f"The secrets of a run may have {MAX_BYTES_OF_A_RUN:,} bytes together; these have {size:,}."
        " Use fewer or shorter ones."
    )


@transaction.atomic
def store_secret(
    *, team: Team, by: User, name: str, value: str, may_replace: bool = True
) -> tuple[TeamSecret, bool]:
    """Add a secret or replace its value; return it, and whether it is new."""
    errors = [*_name_errors(name), *_value_errors(value)]
    if errors:
        raise Invalid.of(*errors)
    Team.objects.select_for_update().get(pk=team.pk)
    held = TeamSecret.objects.filter(team=team, name=name).first()
    if held is not None and not may_replace:
        raise Invalid.of(
            FieldError("name", f"There is a secret {name} already. Choose to replace its value.")
        )
    if held is None and TeamSecret.objects.filter(team=team).count() >= MAX_SECRETS:
        raise Conflict(
            f"{team.name} has {MAX_SECRETS} secrets, which is the limit. Delete one that nothing"
            " needs."
        )
    now = timezone.now()
    secret = held or TeamSecret(team=team, name=name, created_by=by, created_at=now)
    secret.encrypted_value, secret.size_bytes = encrypt(value), len(value.encode())
    secret.updated_at = now
    secret.save()
    action = "secret.replace" if held else "secret.create"
    audit(team=team, actor=by, action=action, subject=name)
    return secret, held is None


@transaction.atomic
def delete_secret(*, secret: TeamSecret, by: User) -> None:
    audit(team=secret.team, actor=by, action="secret.delete", subject=secret.name)
    secret.delete()


def values_for_use(team: Team, names: Collection[str]) -> dict[str, str]:
    """Return the values of secrets by their names, and record the use.

    Raises SecretUnavailable, with the way out.
    """
    found = {secret.name: secret for secret in secrets_of(team).filter(name__in=names)}
    for name in sorted(names):
        if name not in found:
            raise SecretUnavailable(
                f"The secret {name} was deleted. Add it again, or submit the run without it."
            )
    if problem := size_problem(found.values()):
        raise SecretUnavailable(problem)
    TeamSecret.objects.filter(pk__in=[secret.pk for secret in found.values()]).update(
        last_used_at=timezone.now()
    )
    return {name: _value_of(secret) for name, secret in found.items()}


def _value_of(secret: TeamSecret) -> str:
    try:
        return decrypt(secret.encrypted_value)
    except Conflict as error:
        raise SecretUnavailable(
            f"The secret {secret.name} cannot be read: SECRET_KEY has changed since. Replace its"
            " value."
        ) from error


def _name_errors(name: str) -> list[FieldError]:
    if SECRET_NAME.fullmatch(name):
        return []
    return [FieldError("name", f"Use {NAME_HINT}.")]


def _value_errors(value: str) -> list[FieldError]:
    if not value:
        return [FieldError("value", "value is required.")]
    if "\0" in value:
        return [FieldError("value", "A NUL character cannot be passed to a program.")]
    size = len(value.encode())
    if size > MAX_VALUE_BYTES:
        limit = f"Use at most {MAX_VALUE_BYTES:,} bytes; it has {size:,}."
        return [FieldError("value", limit)]
    return []
